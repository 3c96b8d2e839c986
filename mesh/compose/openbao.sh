#!/bin/sh
# OpenBao for the demo: everything in memory, set up as docs/vault.md tells for a real one. What it hands out, and the
# secrets of the token service's clients, are files for extauthz alone. Another start makes other keys: tokens end with it.
set -eu

listen=${LISTEN:-0.0.0.0:8200}
handed_out=${HANDED_OUT:-/run/extauthz}
policy=${POLICY:-/setup/extauthz-policy.hcl}

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

BAO_TOKEN=$(random)
BAO_ADDR=http://127.0.0.1:${listen##*:}
export BAO_TOKEN BAO_ADDR

umask 077
rm -f "$handed_out/ready"
bao server -dev -dev-no-store-token -dev-listen-address="$listen" -dev-root-token-id="$BAO_TOKEN" >/dev/null &
server=$!
trap 'kill "$server"' INT TERM
until bao status >/dev/null 2>&1; do
  kill -0 "$server"
  sleep 0.2
done

{
  bao secrets enable transit
  bao policy write extauthz "$policy"
  bao auth enable approle
  bao write auth/approle/role/extauthz \
    token_policies=extauthz token_no_default_policy=true token_ttl=20m token_max_ttl=24h secret_id_num_uses=0
} >/dev/null
bao read -field=role_id auth/approle/role/extauthz/role-id >"$handed_out/role-id"
bao write -field=secret_id -f auth/approle/role/extauthz/secret-id >"$handed_out/secret-id"
for client in shop backoffice gateway; do
  random >"$handed_out/$client.secret"
done
touch "$handed_out/ready"
echo "OpenBao is set up, and listens on $listen"
wait "$server" || true
