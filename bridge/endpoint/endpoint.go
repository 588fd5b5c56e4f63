// Package endpoint is the one HTTP endpoint of the AWS services: it finds out
// which service a request is for, who sent it and whether the signature is
// theirs, hands it to the service, and puts what comes back into the shape of
// the protocol. It answers for STS itself.
package endpoint

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// Service is one AWS service.
type Service interface {
	// Serve answers c, now or later, with exactly one of Reply, ReplyWith and
	// Fail, from any goroutine. It runs on an event loop and must not block.
	// What c holds of the request (Body, values of Form, Header, Path) is valid
	// until Serve returns.
	Serve(c *Call)
}

// Anonymous is a service that has actions for callers without credentials.
type Anonymous interface {
	Anonymous(action string) bool
}

// Pager is a service with pages that are no calls of its interface, such as
// certificates.
type Pager interface {
	// ServePage answers a GET without an action; false if it is not its page.
	ServePage(c *Call) bool
}

// Auth says which signatures count.
type Auth uint8

// The ways.
const (
	// AuthAuto is strict, but while no key is configured it takes anybody who
	// connects from this machine.
	AuthAuto Auth = iota
	AuthStrict
	// AuthRelaxed takes any signature, or none, for development.
	AuthRelaxed
)

// Options configure an endpoint.
type Options struct {
	Region  string // default us-east-1
	Account string // the default account; default 000000000000
	BaseURL string // by which clients reach the endpoint; "" is what their requests say
	Auth    Auth
	Keys    []Key
	// RelaxedUser is who a request without proof acts for; default guest.
	RelaxedUser string
	// Accounts maps accounts to virtual hosts; the default account is "/"
	// unless it is here.
	Accounts map[string]string
	// Origins are the web origins whose pages may read answers; "*" for all.
	// Requests that nobody signed need an origin that is listed by name.
	Origins []string
	Now     func() time.Time
	Logger  *slog.Logger
}

// Endpoint routes requests to services. Its methods may be called from any
// goroutine; Register before the first Serve.
type Endpoint struct {
	core     *broker.Broker
	opt      Options
	verifier *aws.Verifier
	secret   []byte // of this broker, kept in the store
	services []*registration
	vhosts   map[string]string // account -> vhost
	accounts map[string]string // vhost -> account

	keysMu     sync.RWMutex
	keys       map[string]*accessKey
	keyChanges sync.Mutex // orders changes of stored keys
	mu         sync.Mutex
	callers    sync.Map // callerKey -> *Caller
}

type registration struct {
	name    string // as in credential scopes and host names
	version string
	xmlns   string
	target  string // prefix of X-Amz-Target; "" if the service has no JSON protocol
	service Service
}

// secretKind is the kind of the fact that holds the broker's secret.
var secretKind = broker.FactKind("aws.secret")

// New makes an endpoint over a core that has recovered.
func New(core *broker.Broker, o Options) *Endpoint {
	o.Region = cmp.Or(o.Region, "us-east-1")
	o.Account = cmp.Or(o.Account, "000000000000")
	o.RelaxedUser = cmp.Or(o.RelaxedUser, "guest")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{core: core, opt: o, keys: make(map[string]*accessKey), vhosts: make(map[string]string), accounts: make(map[string]string)}
	for _, k := range o.Keys {
		k.Account = cmp.Or(k.Account, o.Account)
		e.keys[k.ID] = &accessKey{Key: k}
	}
	if _, ok := o.Accounts[o.Account]; !ok {
		e.vhosts[o.Account], e.accounts["/"] = "/", o.Account
	}
	for account, vhost := range o.Accounts {
		e.vhosts[account], e.accounts[vhost] = vhost, account
	}
	e.verifier = aws.NewVerifier(e.secretOf)
	e.loadSecret()
	e.recoverKeys()
	e.register(&registration{name: "sts", version: "2011-06-15", xmlns: "https://sts.amazonaws.com/doc/2011-06-15/", service: &sts{e}})
	return e
}

// loadSecret takes the secret from the store, or makes one.
func (e *Endpoint) loadSecret() {
	for _, d := range e.core.TakeFacts(secretKind) {
		if len(d.Value) == sha256.Size {
			e.secret = d.Value
		}
	}
	if e.secret == nil {
		e.secret = make([]byte, sha256.Size)
		rand.Read(e.secret)
	}
	// Facts that were taken are handed out no more, so this one is put back in any case.
	e.core.StoreFacts([]broker.Definition{{Kind: secretKind, Key: "1", Value: e.secret}}, nil)
}

// Secret derives a key for a purpose from a secret that all nodes share and
// that survives restarts.
func (e *Endpoint) Secret(purpose string) [sha256.Size]byte {
	return sha256.Sum256(append(append([]byte(nil), e.secret...), purpose...))
}

// Register adds a service. target is the prefix of X-Amz-Target of its JSON
// protocol, "" if it has none.
func (e *Endpoint) Register(name, version, xmlns, target string, s Service) {
	e.register(&registration{name, version, xmlns, target, s})
}

func (e *Endpoint) register(r *registration) { e.services = append(e.services, r) }

// Core is the broker behind the endpoint.
func (e *Endpoint) Core() *broker.Broker { return e.core }

// Now is the time.
func (e *Endpoint) Now() time.Time { return e.opt.Now() }

// Region is the configured region.
func (e *Endpoint) Region() string { return e.opt.Region }

// DefaultAccount is the account of callers that name none.
func (e *Endpoint) DefaultAccount() string { return e.opt.Account }

// VHostOf is the virtual host of an account, nil if there is none.
func (e *Endpoint) VHostOf(account string) *broker.VHost {
	name, ok := e.vhosts[account]
	if !ok {
		return nil
	}
	return e.core.VHost(name)
}

// AccountOf is the account of a virtual host; "" if it has none.
func (e *Endpoint) AccountOf(vhost string) string { return e.accounts[vhost] }

// Accounts lists the accounts that have virtual hosts.
func (e *Endpoint) Accounts() []string {
	list := make([]string, 0, len(e.vhosts))
	for a := range e.vhosts {
		list = append(list, a)
	}
	return list
}

// Peer is who sent a request.
type Peer struct {
	Address netip.Addr
	Secure  bool // over TLS
}

// Exchange is how an answer gets back to the client.
type Exchange interface {
	Respond(t *broker.Turn, r wire.Response)
	OnGone(f func())
	// Run has f called on the goroutine that serves the client's connection, never
	// before it returns.
	Run(t *broker.Turn, f func(t *broker.Turn))
}

// Serve answers one request.
func (e *Endpoint) Serve(t *broker.Turn, r *wire.Request, peer Peer, x Exchange) {
	c := &Call{Turn: t, Broker: e.core, Region: e.opt.Region, Method: r.Method, Path: r.Path, endpoint: e, request: r, peer: peer, exchange: x}
	c.RequestID = aws.NewRequestID()
	origin := r.Header.Get("origin")
	if origin != "" {
		c.origin = e.allowOrigin(origin)
	}
	if r.Method == "OPTIONS" {
		c.preflight(t, r)
		return
	}
	if err := c.route(); err != nil {
		c.Fail(t, err)
		return
	}
	if c.service == nil {
		c.page(t)
		return
	}
	if err := e.authenticate(c); err != nil {
		c.Fail(t, err)
		return
	}
	if origin != "" && (c.Caller == nil || c.Caller.Local) && !e.namedOrigin(origin) {
		// A page of anybody's must not act for whoever browses it.
		c.Fail(t, aws.Refuse(403, "AccessDenied", "AccessDeniedException", "Requests of web pages must be signed."))
		return
	}
	c.service.service.Serve(c)
}

// allowOrigin is the value of Access-Control-Allow-Origin; "" if the origin
// gets none.
func (e *Endpoint) allowOrigin(origin string) string {
	for _, o := range e.opt.Origins {
		switch o {
		case "*":
			return "*"
		case origin:
			return strings.Clone(origin)
		}
	}
	return ""
}

func (e *Endpoint) namedOrigin(origin string) bool {
	for _, o := range e.opt.Origins {
		if o == origin {
			return true
		}
	}
	return false
}

// page answers what is no call of any service.
func (c *Call) page(t *broker.Turn) {
	if c.Method == "GET" || c.Method == "HEAD" {
		for _, s := range c.endpoint.services {
			if p, ok := s.service.(Pager); ok && p.ServePage(c) {
				return
			}
		}
		if c.Path == "/health" || c.Path == "/_hermod/health" {
			c.ReplyWith(t, 200, "application/json", []byte(`{"status":"running"}`+"\n"))
			return
		}
	}
	c.ReplyWith(t, 404, "text/xml", []byte("<UnknownOperationException/>\n"))
}
