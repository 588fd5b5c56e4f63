package sqs

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/hermodmq/hermod/conformance/harness"
)

// ctl runs an operator's command that must succeed.
func ctl(t testing.TB, b *harness.Broker, args ...string) string {
	t.Helper()
	out, err := b.CTL(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// made is the key that add_access_key printed: a line of titles, then one of
// values.
func made(t testing.TB, printed string) key {
	t.Helper()
	f := strings.Fields(printed)
	if len(f) != 4 || f[0] != "access_key_id" || !strings.HasPrefix(f[2], "AKIA") || len(f[2]) != 20 || len(f[3]) != 40 {
		t.Fatalf("printed %q", printed)
	}
	return key{id: f[2], secret: f[3]}
}

// SQS-60: access keys that an operator makes while the broker runs are in force
// at once, survive a kill, and end at once with a deletion of key or user.
func TestSQS60_KeysAtRunTime(t *testing.T) {
	ours(t)
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill() })
	at := "http://" + b.Addr("aws")
	list := func(k key) error {
		_, err := client(t, at, k).ListQueues(ctx(), &sqs.ListQueuesInput{})
		return err
	}
	create := func(k key, name string) error {
		_, err := client(t, at, k).CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name})
		return err
	}
	anybody := key{id: "test", secret: "test"}
	if err := list(anybody); err != nil {
		t.Fatalf("without any key, from this machine: %v", err)
	}
	// A proxy on this machine is not its clients.
	w := &world{t, client(t, at, anybody), at}
	w.form(anybody, "GET", "/", map[string]string{"X-Forwarded-For": "192.0.2.1"}, "Action", "ListQueues", "Version", "2012-11-05").has(t, 403, "InvalidClientTokenId")

	ctl(t, b, "add_user", "alice", "pw")
	ctl(t, b, "set_permissions", "alice", "^a-", "^a-", "^a-")
	alice := made(t, ctl(t, b, "add_access_key", "alice"))
	if err := create(alice, "a-queue"); err != nil {
		t.Error(err)
	}
	refused(t, create(alice, "b-queue"), "AccessDenied", "")
	refused(t, list(anybody), "InvalidClientTokenId", "The security token included in the request is invalid.")
	refused(t, list(key{id: alice.id, secret: "x"}), "SignatureDoesNotMatch", "")
	second := made(t, ctl(t, b, "add_access_key", "alice", account))
	for _, args := range [][]string{{"add_access_key", "nobody"}, {"add_access_key", "alice", "111111111111"}, {"delete_access_key", "AKIANONE"}} {
		if out, err := b.CTL(args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []key{alice, second} {
		if err := list(k); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
	listed := ctl(t, b, "list_access_keys", "alice")
	if !strings.Contains(listed, alice.id) || !strings.Contains(listed, second.id) || strings.Contains(listed, alice.secret) {
		t.Errorf("%s", listed)
	}
	ctl(t, b, "delete_access_key", second.id)
	refused(t, list(second), "InvalidClientTokenId", "")
	if err := list(alice); err != nil {
		t.Error(err)
	}
	ctl(t, b, "delete_user", "alice")
	ctl(t, b, "add_user", "alice", "other")
	// What was the last key is gone; proof is not asked for from this machine, so
	// whoever comes must not be alice.
	if out := ctl(t, b, "list_access_keys"); strings.Contains(out, alice.id) {
		t.Errorf("%s", out)
	}
	guest := made(t, ctl(t, b, "add_access_key", "guest"))
	refused(t, list(alice), "InvalidClientTokenId", "")
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	refused(t, list(alice), "InvalidClientTokenId", "")
	if err := list(guest); err != nil {
		t.Error(err)
	}
	b.Kill()
	leaks(t, b.DataDir(), alice.secret, second.secret, guest.secret)
}

// leaks looks for secrets in all files.
func leaks(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, s := range secrets {
			if bytes.Contains(raw, []byte(s)) {
				t.Errorf("a secret is in %s", path)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// SQS-60: definitions may bring access keys, at start and later; an export does
// not give them away.
func TestSQS60_KeysInDefinitions(t *testing.T) {
	ours(t)
	file := filepath.Join(t.TempDir(), "definitions.json")
	write := func(id, secret string) {
		text := `{"users":[{"name":"carol","password_hash":"","hashing_algorithm":"rabbit_password_hashing_sha256","tags":"administrator"}],` +
			`"permissions":[{"user":"carol","vhost":"/","configure":".*","write":".*","read":".*"}],` +
			`"aws_access_keys":[{"access_key_id":"` + id + `","secret_access_key":"` + secret + `","user":"carol"}]}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("AKIDCAROL", "carols-own-secret")
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0", "definitions.import=" + file}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	at := "http://" + b.Addr("aws")
	use := func(k key) error {
		name := unique()
		_, err := client(t, at, k).CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name})
		return err
	}
	if err := use(key{id: "AKIDCAROL", secret: "carols-own-secret"}); err != nil {
		t.Error(err)
	}
	write("AKIDCAROL", "carols-new-secret")
	ctl(t, b, "import_definitions", file)
	refused(t, use(key{id: "AKIDCAROL", secret: "carols-own-secret"}), "SignatureDoesNotMatch", "")
	if err := use(key{id: "AKIDCAROL", secret: "carols-new-secret"}); err != nil {
		t.Error(err)
	}
	if out := ctl(t, b, "export_definitions"); strings.Contains(out, "carols-") {
		t.Error("an export holds a secret")
	}
	write("ASIACAROL", "carols-new-secret") // the prefix of temporary ones
	if out, err := b.CTL("import_definitions", file); err == nil {
		t.Errorf("%s", out)
	}
}
