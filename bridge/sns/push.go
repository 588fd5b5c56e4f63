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
	apps      things
	endpoints things
	sms       map[string]string            // attributes of an account, by account and name
	sandbox   map[string]map[string]string // by account and number
}

// things are platform applications, or their endpoints: attributes by ARN.
type things map[string]map[string]string

// thing says what the actions on applications and on endpoints do not share.
type thing struct {
	kind     string // of the facts
	of       func(p *pushStore) things
	param    string // that names one
	resource string // the first part of the resource in its ARN, and
	parts    int    // how many there are
	unknown  *aws.Error
	check    func(a map[string]string) *aws.Error // of attributes that are set
}

var (
	application = &thing{
		broker.FactKind("sns.application"), func(p *pushStore) things { return p.apps },
		"PlatformApplicationArn", "app", 3, notFound("PlatformApplication"), dropCredentials,
	}
	mobileEndpoint = &thing{
		broker.FactKind("sns.endpoint"), func(p *pushStore) things { return p.endpoints },
		"EndpointArn", "endpoint", 4, notFound("Endpoint"), checkEndpointAttributes,
	}
	smsKind = broker.FactKind("sns.sms")
)

// dropCredentials removes what is of no use here and not kept.
func dropCredentials(a map[string]string) *aws.Error {
	delete(a, "PlatformCredential")
	delete(a, "PlatformPrincipal")
	return nil
}

func (p *pushStore) recover(core *broker.Broker) {
	read := func(k *thing) things {
		m := make(things)
		for _, d := range core.TakeFacts(k.kind) {
			var a map[string]string
			if json.Unmarshal(d.Value, &a) == nil {
				m[d.Key] = a
			}
		}
		return m
	}
	p.apps, p.endpoints, p.sms = read(application), read(mobileEndpoint), make(map[string]string)
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
	_ = dropCredentials(a)
	a["Enabled"] = "true"
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.apps[arn]; have != nil {
		c.store(nil, element("PlatformApplicationArn", arn))
		return nil
	}
	p.apps[arn] = a
	c.store([]broker.Definition{mapFact(application.kind, arn, a)}, element("PlatformApplicationArn", arn))
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

// pushARN reads the name of a thing.
func (c *call) pushARN(k *thing) (string, *aws.Error) {
	arn := c.param(k.param)
	a, n, _ := aws.ParseARN(arn)
	if n < 6 {
		return "", shortARN(k.param, n)
	}
	if parts := strings.Split(a.Resource, "/"); len(parts) != k.parts {
		return "", invalid(k.param + " Reason: Wrong number of slashes in relative portion of the ARN.")
	} else if parts[0] != k.resource || a.Account != c.Caller.Account {
		return "", invalid(k.param)
	}
	return arn, nil
}

// onPush runs f with the name of a thing and all things of its kind, which only
// f may change.
func (c *call) onPush(k *thing, f func(arn string, all things) *aws.Error) *aws.Error {
	arn, err := c.pushARN(k)
	if err != nil {
		return err
	}
	c.s.push.mu.Lock()
	defer c.s.push.mu.Unlock()
	return f(arn, k.of(&c.s.push))
}

func (c *call) deletePush(k *thing) *aws.Error {
	return c.onPush(k, func(arn string, all things) *aws.Error {
		delete(all, arn)
		c.store([]broker.Definition{{Kind: k.kind, Key: arn, Delete: true}}, "")
		return nil
	})
}

func (c *call) getPush(k *thing) *aws.Error {
	return c.onPush(k, func(arn string, all things) *aws.Error {
		if all[arn] == nil {
			return k.unknown
		}
		c.reply(c.Turn, attributeEntries("Attributes", all[arn]))
		return nil
	})
}

func (c *call) setPush(k *thing) *aws.Error {
	return c.onPush(k, func(arn string, all things) *aws.Error {
		if !c.Form.Has("Attributes") {
			return missing("attributes")
		}
		a := maps.Clone(all[arn])
		if a == nil {
			return k.unknown
		}
		changes := c.attributes("Attributes")
		if err := k.check(changes); err != nil {
			return err
		}
		maps.Copy(a, changes)
		all[arn] = a
		c.store([]broker.Definition{mapFact(k.kind, arn, a)}, "")
		return nil
	})
}

// listPush answers with a page of the things that belong. The store is locked.
func (c *call) listPush(list string, k *thing, belongs func(arn string) bool) *aws.Error {
	all := k.of(&c.s.push)
	arns := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(arn string) bool { return !belongs(arn) })
	some, next, ok := page(arns, c.Form.Get("NextToken"), func(s string) string { return s })
	if !ok {
		return invalid("NextToken")
	}
	var b strings.Builder
	for _, arn := range some {
		b.WriteString("<member>" + element(k.param, arn) + attributeEntries("Attributes", all[arn]) + "</member>")
	}
	c.reply(c.Turn, "<"+list+">"+b.String()+"</"+list+">"+nextToken(next))
	return nil
}

func (c *call) deletePlatformApplication() *aws.Error { return c.deletePush(application) }
func (c *call) getPlatformApplication() *aws.Error    { return c.getPush(application) }
func (c *call) setPlatformApplication() *aws.Error    { return c.setPush(application) }
func (c *call) deleteEndpoint() *aws.Error            { return c.deletePush(mobileEndpoint) }
func (c *call) getEndpoint() *aws.Error               { return c.getPush(mobileEndpoint) }
func (c *call) setEndpoint() *aws.Error               { return c.setPush(mobileEndpoint) }

func (c *call) listPlatformApplications() *aws.Error {
	c.s.push.mu.Lock()
	defer c.s.push.mu.Unlock()
	return c.listPush("PlatformApplications", application, func(arn string) bool { return strings.Contains(arn, ":"+c.Caller.Account+":app/") })
}

// endpointPrefix begins the names of an application's endpoints.
func endpointPrefix(app string) string { return strings.Replace(app, ":app/", ":endpoint/", 1) + "/" }

func (c *call) listEndpoints() *aws.Error {
	return c.onPush(application, func(app string, all things) *aws.Error {
		if all[app] == nil {
			return application.unknown
		}
		return c.listPush("Endpoints", mobileEndpoint, func(arn string) bool { return strings.HasPrefix(arn, endpointPrefix(app)) })
	})
}

func (c *call) createPlatformEndpoint() *aws.Error {
	app, err := c.pushARN(application)
	if err != nil {
		return err
	}
	a := c.attributes("Attributes")
	token := c.param("Token")
	if token == "" {
		return invalid("Token Reason: cannot be empty")
	}
	if data := c.param("CustomUserData"); data != "" && a["CustomUserData"] == "" {
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
		return application.unknown
	}
	prefix := endpointPrefix(app)
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
	c.store([]broker.Definition{mapFact(mobileEndpoint.kind, arn, a)}, element("EndpointArn", arn))
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

// platformOf is the platform in the name of a mobile endpoint.
func platformOf(arn string) string {
	_, rest, _ := strings.Cut(arn, ":endpoint/")
	platform, _, _ := strings.Cut(rest, "/")
	return platform
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
	if err := c.shape(p, "", platformOf(arn)); err != nil {
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
	s.errand(func() {
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
