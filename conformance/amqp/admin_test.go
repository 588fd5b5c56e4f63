package amqpconf

import (
	"os"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

// admin runs operator commands. hermod ctl and rabbitmqctl take the same
// commands in the same order, so one type serves both; what differs stands in
// the methods below.
type admin struct {
	run func(args ...string) (string, error)
}

// externalAdmin runs the command BROKER_CTL names; nil when there is none.
func externalAdmin() *admin {
	ctl := os.Getenv("BROKER_CTL")
	if ctl == "" {
		return nil
	}
	return &admin{run: func(args ...string) (string, error) { return harness.Run(ctl, args...) }}
}

// operator returns the admin of the shared broker or skips the test.
func operator(t *testing.T) *admin {
	t.Helper()
	if shared.admin == nil {
		t.Skip("no operator command: set BROKER_CTL")
	}
	return shared.admin
}

// do runs a command that must succeed.
func (a *admin) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := a.run(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// later runs a command when the test ends, whatever its outcome.
func (a *admin) later(t *testing.T, args ...string) {
	t.Cleanup(func() { _, _ = a.run(args...) })
}

// user adds a user with a password equal to its name and removes it at the
// end.
func (a *admin) user(t *testing.T, name string, tags ...string) {
	t.Helper()
	a.do(t, "add_user", name, name)
	a.later(t, "delete_user", name)
	if len(tags) > 0 {
		a.do(t, append([]string{"set_user_tags", name}, tags...)...)
	}
}

// permit sets the configure, write and read patterns of a user.
func (a *admin) permit(t *testing.T, vhost, user, configure, write, read string) {
	t.Helper()
	a.do(t, "set_permissions", "-p", vhost, user, configure, write, read)
}

// policy sets a policy and clears it at the end.
func (a *admin) policy(t *testing.T, name, pattern, definition, applyTo string) {
	t.Helper()
	a.do(t, "set_policy", "-p", "/", "--apply-to", applyTo, name, pattern, definition)
	a.later(t, "clear_policy", "-p", "/", name)
}

// connection returns the id of the connection with that connection_name.
func (a *admin) connection(t *testing.T, name string) (id string) {
	t.Helper()
	eventually(t, "connection "+name+" listed", func() bool {
		for line := range strings.Lines(a.do(t, "list_connections", "pid", "client_properties")) {
			if strings.Contains(line, name) {
				id = strings.Fields(line)[0]
			}
		}
		return id != ""
	})
	return id
}

// diskAlarm raises or clears the alarm for low disk space.
func (a *admin) diskAlarm(t *testing.T, on bool) {
	t.Helper()
	switch {
	case reference() && on:
		a.do(t, "set_disk_free_limit", "900000GB")
	case reference():
		a.do(t, "set_disk_free_limit", "50MB")
	case on:
		a.do(t, "set_alarm", "disk", "on")
	default:
		a.do(t, "set_alarm", "disk", "off")
	}
}
