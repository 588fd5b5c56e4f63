package broker

import (
	"slices"
	"strings"

	"github.com/hermodmq/hermod/broker/password"
)

// The tags that mean something.
const (
	TagAdministrator = "administrator"
	TagMonitoring    = "monitoring"
	TagPolicymaker   = "policymaker"
	TagManagement    = "management"
	TagImpersonator  = "impersonator"
)

// User is who a client has proved to be. It is immutable.
type User struct {
	Name string
	Tags []string
}

// HasTag reports whether u carries tag.
func (u *User) HasTag(tag string) bool { return slices.Contains(u.Tags, tag) }

// account is a user as the internal back end keeps it. It is immutable; a
// change replaces it.
type account struct {
	User
	hash  password.Hash
	scram password.Scram // zero if only the hash is known
}

// splitTags reads tags as RabbitMQ 3.x writes them (comma separated).
func splitTags(s string) []string {
	var tags []string
	for tag := range strings.SplitSeq(s, ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

func (a *auth) account(name string) *account {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.users[name]
}
