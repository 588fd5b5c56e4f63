package openwire

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

// certificateUser is who the client's certificate says that it is.
const certificateUser = "carol"

// secure are the settings of the listener over TLS, which asks for client
// certificates without insisting, and what Java needs for it.
func secure(t *testing.T) (set, env []string) {
	t.Helper()
	a, err := harness.NewAuthority(t.TempDir())
	if err == nil {
		_, err = a.Issue("server")
	}
	if err == nil {
		_, err = a.Issue(certificateUser)
	}
	if err == nil {
		err = rewriteKey(a.Path(certificateUser + ".key"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return []string{
			"listeners.openwire.tls_address=127.0.0.1:0", "tls.client_auth=request",
			"tls.cert_file=" + a.Path("server.pem"), "tls.key_file=" + a.Path("server.key"), "tls.ca_file=" + a.Path("ca.pem"),
		}, []string{
			"CA_FILE=" + a.Path("ca.pem"), "CERT_FILE=" + a.Path(certificateUser+".pem"), "KEY_FILE=" + a.Path(certificateUser+".key"),
		}
}

// rewriteKey puts a key into the form that Java reads by itself.
func rewriteKey(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
