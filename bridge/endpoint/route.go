package endpoint

import (
	"strings"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
)

// route finds the service, the protocol and the action of a request. service
// stays nil for what is no call.
func (c *Call) route() *aws.Error {
	r := c.request
	if target := r.Header.Get("x-amz-target"); target != "" {
		c.Protocol = aws.JSON
		c.queryMode = r.Header.Get("x-amzn-query-mode") == "true"
		prefix, action, _ := strings.Cut(target, ".")
		for _, s := range c.endpoint.services {
			if s.target != "" && s.target == prefix {
				c.service, c.Action, c.Body = s, action, r.Body
				return nil
			}
		}
		return aws.ErrUnknownOperation
	}
	body := ""
	if r.Method == "POST" && !strings.HasPrefix(r.Header.Get("content-type"), "application/x-amz-json") {
		body = unsafe.String(unsafe.SliceData(r.Body), len(r.Body)) // valid as long as the request
	}
	form, ok := aws.ParseForm(r.Query, body)
	if !ok {
		return &aws.Error{Status: 400, Code: "MalformedQueryString", Shape: aws.CoralNamespace + "MalformedQueryStringException", Message: "The query string is malformed"}
	}
	action := form.Get("Action")
	if action == "" {
		return nil
	}
	c.Form, c.Action = form, action
	if strings.Contains(r.Header.Get("accept"), "application/json") {
		c.Protocol = aws.QueryJSON
	}
	c.service = c.endpoint.serviceOf(c, form.Get("Version"))
	if c.service == nil {
		return &aws.Error{Status: 400, Code: "InvalidAction", Message: "Could not find operation " + action + " for version " + form.Get("Version")}
	}
	return nil
}

// serviceOf tells services of the Query protocol apart: by version, by what the
// signature was made for, by host name, by path, by action.
func (e *Endpoint) serviceOf(c *Call, version string) *registration {
	for _, s := range e.services {
		if s.version == version {
			return s
		}
	}
	if version != "" {
		return nil
	}
	name := ""
	signed := c.signed()
	if cred, err := aws.Identify(&signed); err == nil {
		name = cred.Service
	}
	if name == "" {
		name, _, _ = strings.Cut(c.request.Host, ".")
	}
	if s := e.named(name); s != nil {
		return s
	}
	if parts := strings.Split(strings.Trim(c.Path, "/"), "/"); len(parts) >= 2 && aws.IsAccount(parts[len(parts)-2]) {
		return e.named("sqs")
	}
	switch c.Action {
	case "ConfirmSubscription", "Unsubscribe":
		return e.named("sns")
	case "GetCallerIdentity", "AssumeRole", "GetSessionToken":
		return e.named("sts")
	}
	return e.named("sqs")
}

func (e *Endpoint) named(name string) *registration {
	for _, s := range e.services {
		if s.name == name {
			return s
		}
	}
	return nil
}

// signed is the request as its signature covers it.
func (c *Call) signed() aws.Signed {
	r := c.request
	return aws.Signed{Method: r.Method, Path: r.Path, Query: r.Query, Body: r.Body, Headers: r.Header}
}
