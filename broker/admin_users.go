package broker

import (
	"slices"
	"strings"

	"github.com/hermodmq/hermod/broker/password"
)

// The methods of this file change users and their rights. Like all methods of
// administration they are called from goroutines that may wait, take effect at
// once and run done (which may be nil) when the change is durable; an error
// means that nothing happened and done does not run.

// administer runs f with the lock that orders changes of users, rights,
// parameters and virtual hosts.
func (b *Broker) administer(t *Turn, done func(*Turn), f func(c *change) error) error {
	c := change{broker: b, turn: t}
	b.mu.Lock()
	err := f(&c)
	if err != nil {
		b.mu.Unlock()
		return err
	}
	waits := c.store(done)
	b.mu.Unlock()
	c.finish(t, done, waits)
	return nil
}

func noUser(name string) error  { return errf(NotFound, "no user '%s'", name) }
func noVHost(name string) error { return errf(NotFound, "no vhost '%s'", name) }
func badText(what string) error { return errf(Invalid, "%s must not be empty", what) }

// AddUser makes a user, or gives an existing one a new password and tags. An
// empty password means that the user cannot log in with one.
func (b *Broker) AddUser(t *Turn, name, pass string, tags []string, done func(*Turn)) error {
	a := account{User: User{Name: name, Tags: slices.Clone(tags)}}
	if pass != "" {
		if err := a.setPassword(pass, b.options.PasswordCost); err != nil {
			return err
		}
	}
	return b.putUser(t, &a, done)
}

// setPassword derives what is kept of a password.
func (a *account) setPassword(pass string, cost int) (err error) {
	if a.hash, err = password.New(pass, cost); err == nil {
		a.scram, err = password.NewScram(pass)
	}
	if err != nil {
		return errf(Internal, "password cannot be hashed: %v", err)
	}
	return nil
}

// AddUserHash is AddUser with a hash in RabbitMQ's form: base64 of four bytes
// of salt and the digest of salt and password. Algorithm "" is SHA-256.
func (b *Broker) AddUserHash(t *Turn, name, algorithm, hash string, tags []string, done func(*Turn)) error {
	h, err := password.Parse(algorithm, hash)
	if err != nil {
		return errf(Invalid, "%v", err)
	}
	return b.putUser(t, &account{User: User{Name: name, Tags: slices.Clone(tags)}, hash: h}, done)
}

func (b *Broker) putUser(t *Turn, a *account, done func(*Turn)) error {
	if a.Name == "" {
		return badText("user name")
	}
	return b.administer(t, done, func(c *change) error {
		b.storeUser(c, a)
		return nil
	})
}

// SetUserScram gives a user whose password is known as a hash only the keys of
// SCRAM-SHA-256, in the text form of password.Scram.
func (b *Broker) SetUserScram(t *Turn, name, keys string, done func(*Turn)) error {
	scram, err := password.ParseScram(keys)
	if err != nil {
		return errf(Invalid, "%v", err)
	}
	return b.administer(t, done, func(c *change) error {
		a := b.auth.account(name)
		if a == nil {
			return noUser(name)
		}
		b.storeUser(c, &account{User: a.User, hash: a.hash, scram: scram})
		return nil
	})
}

// storeUser replaces an account. b.mu is held.
func (b *Broker) storeUser(c *change, a *account) {
	b.auth.mu.Lock()
	b.auth.users[a.Name] = a
	b.auth.mu.Unlock()
	b.rightsChanged(c, a.Name)
	c.put(kindUser, vhostKey(a.Name), mustJSON(userValue{a.hash.Algorithm, a.hash.Text, a.Tags, a.scram.String()}))
}

// rightsChanged makes sessions forget what they know and tells the user's
// connections.
func (b *Broker) rightsChanged(c *change, user string) {
	b.auth.version.Add(1)
	c.later(func(*Turn) {
		for _, conn := range b.conns.all() {
			if conn.options.Control != nil && conn.User().Name == user {
				conn.options.Control.Refresh()
			}
		}
	})
}

// ChangePassword gives a user a new password.
func (b *Broker) ChangePassword(t *Turn, name, pass string, done func(*Turn)) error {
	var fresh account
	if err := fresh.setPassword(pass, b.options.PasswordCost); err != nil {
		return err
	}
	return b.administer(t, done, func(c *change) error {
		a := b.auth.account(name)
		if a == nil {
			return noUser(name)
		}
		fresh.User = a.User
		b.storeUser(c, &fresh)
		return nil
	})
}

// SetUserTags replaces a user's tags.
func (b *Broker) SetUserTags(t *Turn, name string, tags []string, done func(*Turn)) error {
	return b.administer(t, done, func(c *change) error {
		a := b.auth.account(name)
		if a == nil {
			return noUser(name)
		}
		b.storeUser(c, &account{User: User{Name: name, Tags: slices.Clone(tags)}, hash: a.hash, scram: a.scram})
		return nil
	})
}

// DeleteUser removes a user with all rights and closes its connections.
func (b *Broker) DeleteUser(t *Turn, name string, done func(*Turn)) error {
	return b.administer(t, done, func(c *change) error {
		a := &b.auth
		a.mu.Lock()
		if a.users[name] == nil {
			a.mu.Unlock()
			return noUser(name)
		}
		delete(a.users, name)
		c.remove(kindUser, vhostKey(name))
		for key := range a.permissions {
			if key.user == name {
				a.dropRights(c, key)
			}
		}
		for key := range a.topics {
			if key.user == name {
				a.dropRights(c, key)
			}
		}
		if l := a.limits[name]; l != nil {
			for limit := range l.values {
				c.remove(kindUserLimit, vhostKey(name, limit))
			}
			delete(a.limits, name)
		}
		a.mu.Unlock()
		b.dropFacts(c, name)
		a.version.Add(1)
		c.later(func(*Turn) {
			b.closeWhere("user '"+name+"' is deleted", func(conn *Connection) bool { return conn.User().Name == name })
		})
		return nil
	})
}

// dropRights removes a user's rights in one virtual host. a.mu is held.
func (a *auth) dropRights(c *change, key userVHost) {
	if a.permissions[key] != nil {
		delete(a.permissions, key)
		c.remove(kindPermission, vhostKey(key.user, key.vhost))
	}
	if topics := a.topics[key]; topics != nil {
		delete(a.topics, key)
		for _, p := range topics.list {
			c.remove(kindTopicPermission, vhostKey(p.User, p.VHost, p.Exchange))
		}
	}
}

// SetPermissions gives a user rights in a virtual host.
func (b *Broker) SetPermissions(t *Turn, p Permissions, done func(*Turn)) error {
	compiled, err := compile(p)
	if err != nil {
		return err
	}
	return b.administer(t, done, func(c *change) error {
		if err := b.userAndVHost(p.User, p.VHost); err != nil {
			return err
		}
		b.auth.mu.Lock()
		b.auth.permissions[userVHost{p.User, p.VHost}] = compiled
		b.auth.mu.Unlock()
		b.rightsChanged(c, p.User)
		c.put(kindPermission, vhostKey(p.User, p.VHost), mustJSON(p))
		return nil
	})
}

func (b *Broker) userAndVHost(user, vhost string) error {
	if b.auth.account(user) == nil {
		return noUser(user)
	}
	if b.vhosts.get(vhost) == nil {
		return noVHost(vhost)
	}
	return nil
}

// ClearPermissions takes all rights in a virtual host from a user.
func (b *Broker) ClearPermissions(t *Turn, user, vhost string, done func(*Turn)) error {
	return b.administer(t, done, func(c *change) error {
		key := userVHost{user, vhost}
		b.auth.mu.Lock()
		had := b.auth.permissions[key] != nil
		delete(b.auth.permissions, key)
		b.auth.mu.Unlock()
		if !had {
			return errf(NotFound, "no permissions of user '%s' in vhost '%s'", user, vhost)
		}
		b.rightsChanged(c, user)
		c.remove(kindPermission, vhostKey(user, vhost))
		return nil
	})
}

// SetTopicPermissions restricts a user at one topic exchange.
func (b *Broker) SetTopicPermissions(t *Turn, p TopicPermissions, done func(*Turn)) error {
	for _, s := range []string{p.Write, p.Read} {
		// The variables are tried with plain names.
		if _, err := topicPattern(s, "u", "v", "c"); err != nil {
			return errf(Invalid, "invalid permission pattern '%s': %v", s, err)
		}
	}
	if p.Exchange == "" {
		p.Exchange = "amq.default"
	}
	return b.administer(t, done, func(c *change) error {
		if err := b.userAndVHost(p.User, p.VHost); err != nil {
			return err
		}
		b.auth.mu.Lock()
		b.auth.putTopic(p)
		b.auth.mu.Unlock()
		b.rightsChanged(c, p.User)
		c.put(kindTopicPermission, vhostKey(p.User, p.VHost, p.Exchange), mustJSON(p))
		return nil
	})
}

// putTopic replaces the entry of p's exchange; readers keep the list they
// have. a.mu is held.
func (a *auth) putTopic(p TopicPermissions) {
	key := userVHost{p.User, p.VHost}
	next := &compiledTopics{list: []TopicPermissions{p}}
	if have := a.topics[key]; have != nil {
		for _, old := range have.list {
			if old.Exchange != p.Exchange {
				next.list = append(next.list, old)
			}
		}
	}
	slices.SortFunc(next.list, func(x, y TopicPermissions) int { return strings.Compare(x.Exchange, y.Exchange) })
	a.topics[key] = next
}

// ClearTopicPermissions lifts a user's restrictions at one topic exchange, or
// at all of the virtual host if exchange is "".
func (b *Broker) ClearTopicPermissions(t *Turn, user, vhost, exchange string, done func(*Turn)) error {
	return b.administer(t, done, func(c *change) error {
		key := userVHost{user, vhost}
		a := &b.auth
		a.mu.Lock()
		defer a.mu.Unlock()
		next := &compiledTopics{}
		have := a.topics[key]
		if have == nil {
			return nil
		}
		for _, p := range have.list {
			if exchange != "" && p.Exchange != exchange {
				next.list = append(next.list, p)
				continue
			}
			c.remove(kindTopicPermission, vhostKey(user, vhost, p.Exchange))
		}
		a.topics[key] = next
		if len(next.list) == 0 {
			delete(a.topics, key)
		}
		b.rightsChanged(c, user)
		return nil
	})
}

// SetUserLimit bounds a user's connections or channels; a negative n lifts the
// bound.
func (b *Broker) SetUserLimit(t *Turn, user, limit string, n int64, done func(*Turn)) error {
	if limit != LimitConnections && limit != LimitChannels {
		return errf(Invalid, "unknown user limit '%s'", limit)
	}
	return b.administer(t, done, func(c *change) error {
		if b.auth.account(user) == nil {
			return noUser(user)
		}
		b.auth.mu.Lock()
		b.auth.setLimit(user, limit, n)
		b.auth.mu.Unlock()
		if n < 0 {
			c.remove(kindUserLimit, vhostKey(user, limit))
		} else {
			c.put(kindUserLimit, vhostKey(user, limit), mustJSON(n))
		}
		return nil
	})
}

func (a *auth) setLimit(user, limit string, n int64) {
	l := a.limits[user]
	if l == nil {
		l = &limitSet{}
		a.limits[user] = l
	}
	if n < 0 {
		delete(l.values, limit)
		return
	}
	l.set(limit, n)
}

// CloseConnection ends the connection with this id by order of an operator. It
// reports whether there was one.
func (b *Broker) CloseConnection(id uint64, text string) bool {
	return b.closeWhere(text, func(c *Connection) bool { return c.id == id }) > 0
}

// CloseConnectionNamed does the same for all connections of a name.
func (b *Broker) CloseConnectionNamed(name, text string) int {
	return b.closeWhere(text, func(c *Connection) bool { return c.options.Name == name })
}

// CloseUserConnections does the same for all connections of a user.
func (b *Broker) CloseUserConnections(user, text string) int {
	return b.closeWhere(text, func(c *Connection) bool { return c.User().Name == user })
}

func (b *Broker) closeWhere(text string, which func(*Connection) bool) int {
	n := 0
	for _, c := range b.conns.all() {
		if which(c) {
			n++
			if c.options.Control != nil {
				c.options.Control.Close(Unavailable, text)
			}
		}
	}
	return n
}
