"""HashiCorp Vault and OpenBao: logging in and staying so, signing keys that never leave, secrets of the configuration."""
