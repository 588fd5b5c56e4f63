package endpoint

import (
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// Call is one call of a service.
type Call struct {
	Turn      *broker.Turn // of the goroutine that runs Serve, and valid only there
	Broker    *broker.Broker
	Region    string
	Protocol  aws.Protocol
	Action    string
	Form      aws.Form // parameters of the Query protocol
	Body      []byte   // of the JSON protocol
	Method    string
	Path      string // as sent
	Caller    *Caller
	RequestID string

	endpoint  *Endpoint
	service   *registration
	request   *wire.Request
	peer      Peer
	exchange  Exchange
	origin    string        // Access-Control-Allow-Origin
	queryMode bool          // a JSON client that wants the errors of the Query protocol
	header    [3]wire.Field // backs that of most answers
}

// Header returns a request header; name is in lower case.
func (c *Call) Header(name string) string { return c.request.Header.Get(name) }

// Endpoint is where the call came in.
func (c *Call) Endpoint() *Endpoint { return c.endpoint }

// Peer is who sent the call.
func (c *Call) Peer() Peer { return c.peer }

// BaseURL is the address by which the client reaches the endpoint, as
// http://host:port.
func (c *Call) BaseURL() string {
	if c.endpoint.opt.BaseURL != "" {
		return c.endpoint.opt.BaseURL
	}
	scheme := "http"
	if c.peer.Secure {
		scheme = "https"
	}
	if p := c.request.Header.Get("x-forwarded-proto"); p == "https" || p == "http" {
		scheme = p
	}
	host := c.request.Host
	if h := c.request.Header.Get("x-forwarded-host"); h != "" {
		host = h
	}
	if host == "" {
		host = "localhost"
	}
	return scheme + "://" + host
}

// OnGone has f called, once and on any goroutine, if the client hangs up
// before it is answered.
func (c *Call) OnGone(f func()) { c.exchange.OnGone(f) }

// Run has f called soon on the goroutine that serves the client's connection.
func (c *Call) Run(t *broker.Turn, f func(t *broker.Turn)) { c.exchange.Run(t, f) }

// Reply answers with 200 and takes body over; an empty one is an answer
// without output.
func (c *Call) Reply(t *broker.Turn, body []byte) {
	c.ReplyWith(t, 200, c.Protocol.ContentType(), body)
}

// ReplyLent is Reply with a body that owner gets back once it is sent, or never
// if it is not.
func (c *Call) ReplyLent(t *broker.Turn, body []byte, owner interface{ Release() }) {
	c.respond(t, wire.Response{Status: 200, Body: body, Owner: owner}, c.Protocol.ContentType(), "")
}

// ReplyWith answers with any status.
func (c *Call) ReplyWith(t *broker.Turn, status int, contentType string, body []byte) {
	c.respond(t, wire.Response{Status: status, Body: body}, contentType, "")
}

// Fail answers with an error in the shape of the protocol.
func (c *Call) Fail(t *broker.Turn, e *aws.Error) {
	status := e.Status
	switch c.Protocol {
	case aws.JSON:
		if !c.queryMode && status < 500 {
			status = 400
		}
		c.respond(t, wire.Response{Status: status, Body: e.AppendJSON(nil)}, c.Protocol.ContentType(), e.Code+";"+e.Fault())
	case aws.QueryJSON:
		c.ReplyWith(t, status, c.Protocol.ContentType(), e.AppendQueryJSON(nil, c.RequestID))
	default:
		xmlns, detail := "", ""
		if c.service != nil {
			xmlns = c.service.xmlns
			if c.service.name == "sqs" {
				detail = "<Detail/>" // the other services have none
			}
		}
		c.ReplyWith(t, status, c.Protocol.ContentType(), e.AppendXML(nil, xmlns, c.RequestID, detail))
	}
}

// respond sends r with the header of all answers.
func (c *Call) respond(t *broker.Turn, r wire.Response, contentType, queryError string) {
	h := append(wire.Fields(c.header[:0]), wire.Field{Name: "x-amzn-RequestId", Value: c.RequestID}, wire.Field{Name: "Content-Type", Value: contentType})
	if queryError != "" {
		h = append(h, wire.Field{Name: "x-amzn-query-error", Value: queryError})
	}
	if c.origin != "" {
		h = append(h, wire.Field{Name: "Access-Control-Allow-Origin", Value: c.origin},
			wire.Field{Name: "Access-Control-Expose-Headers", Value: exposed})
	}
	r.Header = h
	c.exchange.Respond(t, r)
}

const exposed = "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,x-amzn-query-error,Date"

// preflight answers OPTIONS.
func (c *Call) preflight(t *broker.Turn, r *wire.Request) {
	h := wire.Fields{{Name: "x-amzn-RequestId", Value: c.RequestID}}
	if c.origin != "" {
		asked := strings.Clone(r.Header.Get("access-control-request-headers"))
		h = append(h, wire.Field{Name: "Access-Control-Allow-Origin", Value: c.origin},
			wire.Field{Name: "Access-Control-Allow-Methods", Value: "GET,POST,OPTIONS"},
			wire.Field{Name: "Access-Control-Allow-Headers", Value: asked},
			wire.Field{Name: "Access-Control-Max-Age", Value: "172800"},
			wire.Field{Name: "Vary", Value: "Origin"})
	}
	c.exchange.Respond(t, wire.Response{Status: 200, Header: h})
}

// Condition returns the values of a condition key of policies, in lower case.
func (c *Call) Condition(key string) []string {
	switch key {
	case "aws:sourceip":
		return []string{c.peer.Address.String()}
	case "aws:securetransport":
		if c.peer.Secure {
			return []string{"true"}
		}
		return []string{"false"}
	case "aws:currenttime":
		return []string{c.endpoint.opt.Now().UTC().Format("2006-01-02T15:04:05Z")}
	case "aws:useragent":
		return []string{c.Header("user-agent")}
	}
	if c.Caller == nil {
		return nil
	}
	switch key {
	case "aws:username":
		return []string{c.Caller.User.Name}
	case "aws:principalarn":
		return []string{c.Caller.ARN()}
	case "aws:principalaccount":
		return []string{c.Caller.Account}
	case "aws:userid":
		return []string{c.Caller.UserID()}
	}
	return nil
}
