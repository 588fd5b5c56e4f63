package sns

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// pushStore keeps what the mobile push and SMS actions store. Nothing of it is
// delivered but through the webhooks.
type pushStore struct {
	mu        sync.Mutex
	apps      map[string]map[string]string // by ARN
	endpoints map[string]map[string]string
	sms       map[string]string            // attributes of an account, by account and name
	sandbox   map[string]map[string]string // by account and number
}

var (
	appKind      = broker.FactKind("sns.application")
	endpointKind = broker.FactKind("sns.endpoint")
	smsKind      = broker.FactKind("sns.sms")
)

func (p *pushStore) recover(core *broker.Broker) {
	read := func(kind string) map[string]map[string]string {
		m := make(map[string]map[string]string)
		for _, d := range core.TakeFacts(kind) {
			var a map[string]string
			if json.Unmarshal(d.Value, &a) == nil {
				m[d.Key] = a
			}
		}
		return m
	}
	p.apps, p.endpoints, p.sms = read(appKind), read(endpointKind), make(map[string]string)
	p.sandbox = make(map[string]map[string]string)
	for _, d := range core.TakeFacts(smsKind) {
		p.sms[d.Key] = string(d.Value)
	}
}

func mapFact(kind, key string, m map[string]string) broker.Definition {
	raw, _ := json.Marshal(m)
	return broker.Definition{Kind: kind, Key: key, Value: raw}
}

var platforms = []string{"ADM", "APNS", "APNS_SANDBOX", "APNS_VOIP", "APNS_VOIP_SANDBOX", "MACOS", "MACOS_SANDBOX", "BAIDU", "FCM", "GCM", "MPNS", "WNS"}

func (c *call) createPlatformApplication() *aws.Error {
	name, platform := c.param("Name"), c.param("Platform")
	a := c.attributes("Attributes")
	switch {
	case !c.Form.Has("Attributes"):
		return missing("attributes")
	case name == "":
		return invalid(" Reason: cannot be empty")
	case len(name) > 256:
		return invalid(name + " Reason: must be at most 256 characters long")
	case !appName(name):
		return invalid(name + " Reason: must contain only characters 'a'-'z', 'A'-'Z', '0'-'9', '_', '-', and '.'")
	case !slices.Contains(platforms, platform):
		return invalid("Platform Reason: " + platform + " is not supported")
	case a["PlatformCredential"] == "" && a["PlatformPrincipal"] == "":
		return invalid("Attributes Reason: missing required attributes: PlatformCredential")
	case a["PlatformPrincipal"] == "" && platform != "GCM" && platform != "FCM":
		return invalid("Attributes Reason: PlatformCredential attribute provided without PlatformPrincipal")
	case a["PlatformCredential"] == "":
		return invalid("Attributes Reason: PlatformPrincipal attribute provided without PlatformCredential")
	}
	arn := "arn:" + aws.Partition(c.Region) + ":sns:" + c.Region + ":" + c.Caller.Account + ":app/" + platform + "/" + name
	if err := c.permitted(name, arn, "CreatePlatformApplication"); err != nil {
		return err
	}
	// Credentials are of no use here and not kept.
	delete(a, "PlatformCredential")
	delete(a, "PlatformPrincipal")
	a["Enabled"] = "true"
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.apps[arn]; have != nil {
		c.store(nil, element("PlatformApplicationArn", arn))
		return nil
	}
	p.apps[arn] = a
	c.store([]broker.Definition{mapFact(appKind, arn, a)}, element("PlatformApplicationArn", arn))
	return nil
}

func appName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

// appARN reads the name of a platform application.
func (c *call) appARN() (string, *aws.Error) {
	arn := c.param("PlatformApplicationArn")
	a, n, _ := aws.ParseARN(arn)
	if n < 6 {
		return "", shortARN("PlatformApplicationArn", n)
	}
	if parts := strings.Split(a.Resource, "/"); len(parts) != 3 {
		return "", invalid("PlatformApplicationArn Reason: Wrong number of slashes in relative portion of the ARN.")
	} else if parts[0] != "app" || a.Account != c.Caller.Account {
		return "", invalid("PlatformApplicationArn")
	}
	return arn, nil
}

func (c *call) deletePlatformApplication() *aws.Error {
	arn, err := c.appARN()
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.apps, arn)
	c.store([]broker.Definition{{Kind: appKind, Key: arn, Delete: true}}, "")
	return nil
}

func (c *call) listPlatformApplications() *aws.Error {
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	arns := slices.DeleteFunc(slices.Sorted(maps.Keys(p.apps)), func(arn string) bool { return !strings.Contains(arn, ":"+c.Caller.Account+":app/") })
	some, next, ok := page(arns, c.Form.Get("NextToken"), func(s string) string { return s })
	if !ok {
		return invalid("NextToken")
	}
	var b strings.Builder
	for _, arn := range some {
		b.WriteString("<member>" + element("PlatformApplicationArn", arn) + attributeEntries("Attributes", p.apps[arn]) + "</member>")
	}
	c.reply(c.Turn, "<PlatformApplications>"+b.String()+"</PlatformApplications>"+nextToken(next))
	return nil
}

var errApp = notFound("PlatformApplication")

func (c *call) getPlatformApplication() *aws.Error {
	arn, err := c.appARN()
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.apps[arn]
	if a == nil {
		return errApp
	}
	c.reply(c.Turn, attributeEntries("Attributes", a))
	return nil
}

func (c *call) setPlatformApplication() *aws.Error {
	arn, err := c.appARN()
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	a := maps.Clone(p.apps[arn])
	if a == nil {
		return errApp
	}
	maps.Copy(a, c.attributes("Attributes"))
	delete(a, "PlatformCredential")
	delete(a, "PlatformPrincipal")
	p.apps[arn] = a
	c.store([]broker.Definition{mapFact(appKind, arn, a)}, "")
	return nil
}

func (c *call) createPlatformEndpoint() *aws.Error {
	app, err := c.appARN()
	if err != nil {
		return err
	}
	a := c.attributes("Attributes")
	token := c.param("Token")
	if token == "" {
		return invalid("Token Reason: cannot be empty")
	}
	if data := c.param("CustomUserData"); data != "" {
		a["CustomUserData"] = data
	}
	if err := checkEndpointAttributes(a); err != nil {
		return err
	}
	a["Token"] = token
	if a["Enabled"] == "" {
		a["Enabled"] = "true"
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.apps[app] == nil {
		return errApp
	}
	prefix := strings.Replace(app, ":app/", ":endpoint/", 1) + "/"
	for arn, have := range p.endpoints {
		if !strings.HasPrefix(arn, prefix) || have["Token"] != token {
			continue
		}
		if maps.Equal(have, a) {
			c.store(nil, element("EndpointArn", arn))
			return nil
		}
		return invalid("Token Reason: Endpoint " + arn + " already exists with the same Token, but different attributes.")
	}
	arn := prefix + aws.NewUUID().String()
	p.endpoints[arn] = a
	c.store([]broker.Definition{mapFact(endpointKind, arn, a)}, element("EndpointArn", arn))
	return nil
}

func checkEndpointAttributes(a map[string]string) *aws.Error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		switch name {
		case "CustomUserData":
			if len(a[name]) > 2048 {
				return invalid("Attributes Reason: Invalid value for attribute: CustomUserData: must be at most 2048 bytes long in UTF-8 encoding")
			}
		case "Enabled", "Token":
		default:
			return invalid("Attributes Reason: Invalid attribute name: " + name)
		}
	}
	return nil
}

// endpointARN reads the name of a platform endpoint.
func (c *call) endpointARN() (string, *aws.Error) {
	arn := c.param("EndpointArn")
	a, n, _ := aws.ParseARN(arn)
	if n < 6 {
		return "", shortARN("EndpointArn", n)
	}
	if parts := strings.Split(a.Resource, "/"); len(parts) != 4 {
		return "", invalid("EndpointArn Reason: Wrong number of slashes in relative portion of the ARN.")
	} else if parts[0] != "endpoint" || a.Account != c.Caller.Account {
		return "", invalid("EndpointArn")
	}
	return arn, nil
}

var errEndpoint = notFound("Endpoint")

func (c *call) deleteEndpoint() *aws.Error {
	arn, err := c.endpointARN()
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.endpoints, arn)
	c.store([]broker.Definition{{Kind: endpointKind, Key: arn, Delete: true}}, "")
	return nil
}

func (c *call) getEndpoint() *aws.Error {
	arn, err := c.endpointARN()
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.endpoints[arn]
	if a == nil {
		return errEndpoint
	}
	c.reply(c.Turn, attributeEntries("Attributes", a))
	return nil
}

func (c *call) setEndpoint() *aws.Error {
	arn, err := c.endpointARN()
	if err != nil {
		return err
	}
	changes := c.attributes("Attributes")
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	a := maps.Clone(p.endpoints[arn])
	if a == nil {
		return errEndpoint
	}
	if err := checkEndpointAttributes(changes); err != nil {
		return err
	}
	maps.Copy(a, changes)
	p.endpoints[arn] = a
	c.store([]broker.Definition{mapFact(endpointKind, arn, a)}, "")
	return nil
}

func (c *call) listEndpoints() *aws.Error {
	app, err := c.appARN()
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.apps[app] == nil {
		return errApp
	}
	prefix := strings.Replace(app, ":app/", ":endpoint/", 1) + "/"
	arns := slices.DeleteFunc(slices.Sorted(maps.Keys(p.endpoints)), func(arn string) bool { return !strings.HasPrefix(arn, prefix) })
	some, next, ok := page(arns, c.Form.Get("NextToken"), func(s string) string { return s })
	if !ok {
		return invalid("NextToken")
	}
	var b strings.Builder
	for _, arn := range some {
		b.WriteString("<member>" + element("EndpointArn", arn) + attributeEntries("Attributes", p.endpoints[arn]) + "</member>")
	}
	c.reply(c.Turn, "<Endpoints>"+b.String()+"</Endpoints>"+nextToken(next))
	return nil
}

// publishPush publishes to one mobile endpoint, by webhook.
func (c *call) publishPush(arn string, p *post) *aws.Error {
	c.s.push.mu.Lock()
	a := c.s.push.endpoints[arn]
	c.s.push.mu.Unlock()
	if a == nil {
		return invalid("TargetArn Reason: No endpoint found for the target arn specified")
	}
	if a["Enabled"] != "true" {
		return refuse(400, "EndpointDisabled", "Endpoint is disabled")
	}
	if err := c.shape(p, ""); err != nil {
		return err
	}
	return c.publishDirect("application", arn, p)
}

// publishDirect hands one message to the webhook of a protocol and answers
// when it is there.
func (c *call) publishDirect(protocol, to string, p *post) *aws.Error {
	s := c.s
	if s.opt.Webhooks[protocol] == "" {
		return refuse(400, "InvalidParameter", "Invalid parameter: no webhook is configured for protocol "+protocol)
	}
	c.later()
	id := aws.NewUUID().String()
	n := notice{attributes: p.attributes}
	body, _ := json.Marshal(map[string]any{"endpoint": to, "message": p.text, "subject": p.subject, "messageId": id, "attributes": attributeMap(&n)})
	s.background(func() {
		failed := s.postHook(s.opt.Webhooks[protocol], protocol, to, body)
		turn, end := s.opt.Turn()
		defer end()
		if failed != nil {
			c.Fail(turn, &aws.Error{Status: 500, Code: "InternalError", Message: "The webhook of protocol " + protocol + " failed: " + failed.message, Receiver: true})
			return
		}
		c.reply(turn, element("MessageId", id))
	})
	return nil
}
