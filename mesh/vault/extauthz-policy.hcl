# What extauthz may do in Vault or OpenBao, and nothing else: each line is needed, which a test of this repository shows.
#
#   bao policy write extauthz extauthz-policy.hcl
#
# The names are those of the defaults: Transit mounted at transit/ with keys that begin with "extauthz", a key-value engine
# (version 2) at secret/ with SECRETS_PATH=secret/auth. Leave out the parts that you don't use, and change what is called
# otherwise with you. The policy "default" is not needed beside it.

# --- Its own token: asked about, renewed, revoked at the end.

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }

# --- Transit: one key for each algorithm that you sign with (es256, eddsa, rs256, ps256). The four are looked for.

path "transit/keys/extauthz-*" { capabilities = ["read"] }

# Made with the first use. It can't be made exportable, and it can't be deleted.
path "transit/keys/extauthz-es256" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "type" = ["ecdsa-p256"] }
}

path "transit/sign/extauthz-es256"        { capabilities = ["update"] }
path "transit/keys/extauthz-es256/rotate" { capabilities = ["update"] }

# Old versions are ended by this. Nothing else of a key can be changed: not "exportable", not "deletion_allowed".
path "transit/keys/extauthz-es256/config" {
  capabilities       = ["update"]
  allowed_parameters = { "min_decryption_version" = [], "min_encryption_version" = [] }
}

# --- The service's own secrets (SECRETS_PATH): read.

path "secret/data/auth" { capabilities = ["read"] }

# --- Signing keys in the key-value engine, if you sign with them and not with Transit.

path "secret/data/auth/signing-keys"    { capabilities = ["read", "create", "update"] }
path "secret/destroy/auth/signing-keys" { capabilities = ["update"] }

# --- Credentials that are lent: read, renewed, given back.

path "database/creds/extauthz" { capabilities = ["read"] }
path "sys/leases/renew"        { capabilities = ["update"] }
path "sys/leases/revoke"       { capabilities = ["update"] }
