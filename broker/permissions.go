package broker

import (
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// Permissions are a user's rights in a virtual host: regular expressions that
// are searched for in the name of the resource. An empty one matches nothing.
//
// Expressions are RE2, not PCRE: look-around and back references are refused
// when the permission is set.
type Permissions struct {
	User      string `json:"user"`
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// TopicPermissions restrict the routing keys a user may publish to and the
// binding keys it may bind with at one topic exchange. The words {username},
// {vhost} and {client_id} stand for the connection's.
type TopicPermissions struct {
	User     string `json:"user"`
	VHost    string `json:"vhost"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// auth is the authority: users and what they may do.
type auth struct {
	version atomic.Uint64 // bumped by every change of users or permissions

	mu          sync.RWMutex
	users       map[string]*account
	permissions map[userVHost]*compiled
	topics      map[userVHost]*compiledTopics
	limits      map[string]*limitSet // of users
}

type userVHost struct{ user, vhost string }

type compiled struct {
	Permissions
	ops [opCount]*regexp.Regexp
}

type compiledTopics struct {
	list []TopicPermissions // by exchange name
}

func (a *auth) init() {
	a.users = make(map[string]*account)
	a.permissions = make(map[userVHost]*compiled)
	a.topics = make(map[userVHost]*compiledTopics)
	a.limits = make(map[string]*limitSet)
	a.version.Store(1)
}

// pattern compiles an expression of a permission.
func pattern(s string) (*regexp.Regexp, error) {
	if s == "" {
		s = "^$"
	}
	return regexp.Compile(s)
}

func compile(p Permissions) (*compiled, error) {
	c := &compiled{Permissions: p}
	for o, s := range map[op]string{opConfigure: p.Configure, opWrite: p.Write, opRead: p.Read} {
		re, err := pattern(s)
		if err != nil {
			return nil, errf(Invalid, "invalid permission pattern '%s': %v", s, err)
		}
		c.ops[o] = re
	}
	return c, nil
}

func (a *auth) mayEnter(user, vhost string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.permissions[userVHost{user, vhost}] != nil
}

// allowed decides without any memory; sessions remember.
func (a *auth) allowed(user, vhost string, o op, name string) bool {
	a.mu.RLock()
	c := a.permissions[userVHost{user, vhost}]
	a.mu.RUnlock()
	return c != nil && c.ops[o].MatchString(name)
}

func (a *auth) topicsOf(user, vhost string) *compiledTopics {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.topics[userVHost{user, vhost}]
}

// allows decides about a key at an exchange. No entry for the exchange: yes.
func (c *compiledTopics) allows(o op, exchange, key string, conn *Connection) bool {
	if c == nil {
		return true
	}
	for i := range c.list {
		p := &c.list[i]
		if p.Exchange != exchange {
			continue
		}
		s := p.Write
		if o == opRead {
			s = p.Read
		}
		re, err := topicPattern(s, conn.User().Name, conn.vhost.name, conn.options.ClientID)
		return err == nil && re.MatchString(key)
	}
	return true
}

// topicPattern expands the variables literally: a user called ".*" gains
// nothing by it.
func topicPattern(s, user, vhost, client string) (*regexp.Regexp, error) {
	if strings.ContainsRune(s, '{') {
		s = strings.NewReplacer(
			"{username}", regexp.QuoteMeta(user),
			"{vhost}", regexp.QuoteMeta(vhost),
			"{client_id}", regexp.QuoteMeta(client),
		).Replace(s)
	}
	return topicPatterns.get(s)
}

// patternCache keeps compiled topic patterns: with variables there is one per
// client.
type patternCache struct {
	mu sync.Mutex
	m  map[string]*regexp.Regexp
}

var topicPatterns = patternCache{m: make(map[string]*regexp.Regexp)}

const maxPatterns = 1024

func (p *patternCache) get(s string) (*regexp.Regexp, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if re := p.m[s]; re != nil {
		return re, nil
	}
	re, err := pattern(s)
	if err != nil {
		return nil, err
	}
	if len(p.m) >= maxPatterns {
		clear(p.m)
	}
	p.m[s] = re
	return re, nil
}

// CheckTopic reports whether the connection's user may publish (write) or
// bind (read) with key at the topic exchange. Listeners without exchanges of
// their own use it before they subscribe.
func (s *Session) CheckTopic(write bool, exchange, key string) error {
	o := opRead
	if write {
		o = opWrite
	}
	return s.allowTopic(o, s.vhost.exchange(exchange), key)
}
