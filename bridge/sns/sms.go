package sns

import (
	"maps"
	"slices"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// validPhone reports whether s is a number as E.164 writes it.
func validPhone(s string) bool {
	digits := strings.TrimPrefix(s, "+")
	if s == digits || len(digits) < 8 || len(digits) > 15 {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// plainPhone takes the separators out of a number, which stand one at a time
// between digits.
func plainPhone(s string) string {
	plain := make([]byte, 0, len(s))
	for i := range len(s) {
		switch s[i] {
		case '-', '.', '/':
			if i == 0 || i == len(s)-1 || !digit(s[i-1]) || !digit(s[i+1]) {
				return ""
			}
		default:
			plain = append(plain, s[i])
		}
	}
	return string(plain)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// publishSMS sends one text message, by webhook.
func (c *call) publishSMS(number string, p *post) *aws.Error {
	if !validPhone(number) {
		return invalid("PhoneNumber Reason: " + number + " is not valid to publish to")
	}
	if c.Form.Get("TopicArn") != "" || c.Form.Get("TargetArn") != "" {
		return invalid("PhoneNumber Reason: only one of TopicArn, TargetArn and PhoneNumber may be given")
	}
	if err := c.shape(p, "", ""); err != nil {
		return err
	}
	n := notice{text: p.text, structure: p.structure}
	p.text = n.textFor("sms")
	return c.publishDirect("sms", number, p)
}

var smsAttributes = map[string]bool{
	"MonthlySpendLimit": true, "DeliveryStatusIAMRole": true, "DeliveryStatusSuccessSamplingRate": true, "DefaultSenderID": true,
	"DefaultSMSType": true, "UsageReportS3Bucket": true,
}

func (c *call) setSMSAttributes() *aws.Error {
	a := make(map[string]string)
	for _, p := range c.Form.Map("attributes.entry", "key", "value") {
		a[strings.Clone(p.Name)] = strings.Clone(p.Value)
	}
	for name, value := range a {
		switch {
		case !smsAttributes[name]:
			return refuse(400, "InvalidParameter", name+" is not a valid attribute")
		case name == "DefaultSMSType" && value != "Promotional" && value != "Transactional":
			return refuse(400, "InvalidParameter", "DefaultSMSType is invalid")
		case name == "DefaultSenderID" && len(value) > 11:
			return refuse(400, "InvalidParameter", "DefaultSendID is not a valid attribute")
		}
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	var facts []broker.Definition
	for name, value := range a {
		key := c.Caller.Account + "/" + name
		p.sms[key] = value
		facts = append(facts, broker.Definition{Kind: smsKind, Key: key, Value: []byte(value)})
	}
	c.store(facts, empty)
	return nil
}

func (c *call) getSMSAttributes() *aws.Error {
	wanted := c.Form.List("attributes.member")
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	a := map[string]string{"MonthlySpendLimit": "1"} // US dollars, what an account of AWS begins with
	for key, value := range p.sms {
		if name, ok := strings.CutPrefix(key, c.Caller.Account+"/"); ok {
			a[name] = value
		}
	}
	maps.DeleteFunc(a, func(name, _ string) bool { return len(wanted) > 0 && !slices.Contains(wanted, name) })
	c.reply(c.Turn, attributeEntries("attributes", a))
	return nil
}

// number reads a phone number.
func (c *call) number(name string) (string, *aws.Error) {
	n := c.param(name)
	if !validPhone(n) {
		return "", invalid("PhoneNumber Reason: input incorrectly formatted")
	}
	return n, nil
}

// Nobody can opt out here: there is no carrier.
func (c *call) checkOptedOut() *aws.Error {
	if _, err := c.number("phoneNumber"); err != nil {
		return err
	}
	c.reply(c.Turn, element("isOptedOut", "false"))
	return nil
}

func (c *call) optIn() *aws.Error {
	if _, err := c.number("phoneNumber"); err != nil {
		return err
	}
	c.reply(c.Turn, empty)
	return nil
}

func (c *call) listOptedOut() *aws.Error {
	c.reply(c.Turn, "<phoneNumbers></phoneNumbers>")
	return nil
}

func (c *call) listOriginationNumbers() *aws.Error {
	c.reply(c.Turn, "<PhoneNumbers></PhoneNumbers>")
	return nil
}

func (c *call) sandboxStatus() *aws.Error {
	c.reply(c.Turn, element("IsInSandbox", "false"))
	return nil
}

// The sandbox is AWS's own; here every number can be written to.
func (c *call) sandboxCreate() *aws.Error {
	n, err := c.number("PhoneNumber")
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	numbers := p.sandbox[c.Caller.Account]
	if numbers == nil {
		numbers = make(map[string]string)
		p.sandbox[c.Caller.Account] = numbers
	}
	if len(numbers) >= 10 && numbers[n] == "" {
		return refuse(400, "UserError", "The maximum number of sandbox destination phone numbers has been reached.")
	}
	numbers[n] = "Verified"
	c.reply(c.Turn, empty)
	return nil
}

func (c *call) sandboxDelete() *aws.Error {
	n, err := c.number("PhoneNumber")
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sandbox[c.Caller.Account][n] == "" {
		return refuse(404, "ResourceNotFound", "The phone number does not exist in the sandbox.")
	}
	delete(p.sandbox[c.Caller.Account], n)
	c.reply(c.Turn, empty)
	return nil
}

func (c *call) sandboxVerify() *aws.Error {
	n, err := c.number("PhoneNumber")
	if err != nil {
		return err
	}
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sandbox[c.Caller.Account][n] == "" {
		return refuse(404, "ResourceNotFound", "The phone number does not exist in the sandbox.")
	}
	c.reply(c.Turn, empty)
	return nil
}

func (c *call) sandboxList() *aws.Error {
	p := &c.s.push
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for n, status := range p.sandbox[c.Caller.Account] {
		b.WriteString("<member>" + element("PhoneNumber", n) + element("Status", status) + "</member>")
	}
	c.reply(c.Turn, "<PhoneNumbers>"+b.String()+"</PhoneNumbers>")
	return nil
}
