package endpoint

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
)

// sts is the part of the Security Token Service that tools call: who am I, and
// temporary credentials. Roles are names: a caller may assume any of its own
// account and keeps its own rights.
type sts struct{ endpoint *Endpoint }

// Serve implements Service.
func (s *sts) Serve(c *Call) {
	switch c.Action {
	case "GetCallerIdentity":
		s.answer(c, "<Arn>"+c.Caller.ARN()+"</Arn><UserId>"+c.Caller.UserID()+"</UserId><Account>"+c.Caller.Account+"</Account>")
	case "AssumeRole":
		s.assumeRole(c)
	case "GetSessionToken":
		if out, ok := s.credentials(c, "", 43200, 129600); ok {
			s.answer(c, out)
		}
	default:
		c.Fail(c.Turn, &aws.Error{Status: 400, Code: "InvalidAction", Message: "The action " + c.Action + " is not valid for this endpoint."})
	}
}

func (s *sts) answer(c *Call, result string) {
	out := `<?xml version="1.0"?><` + c.Action + `Response xmlns="` + c.service.xmlns + `"><` + c.Action + `Result>` + result + `</` + c.Action +
		`Result><ResponseMetadata><RequestId>` + c.RequestID + `</RequestId></ResponseMetadata></` + c.Action + `Response>`
	c.Protocol = aws.Query
	c.Reply(c.Turn, []byte(out))
}

func (s *sts) assumeRole(c *Call) {
	arn, name := c.Form.Get("RoleArn"), c.Form.Get("RoleSessionName")
	a, _, ok := aws.ParseARN(arn)
	role, isRole := strings.CutPrefix(a.Resource, "role/")
	if !ok || !isRole || name == "" || len(name) > 64 || a.Account != c.Caller.Account {
		c.Fail(c.Turn, &aws.Error{Status: 403, Code: "AccessDenied", Message: "User: " + c.Caller.ARN() + " is not authorized to perform: sts:AssumeRole on resource: " + arn})
		return
	}
	full := role[strings.LastIndexByte(role, '/')+1:] + "/" + name
	out, ok := s.credentials(c, full, 3600, 43200)
	if !ok {
		return
	}
	id := uniqueID("AROA", c.Caller.Account+"/"+full)
	s.answer(c, out+"<AssumedRoleUser><AssumedRoleId>"+id+":"+string(aws.AppendXMLText(nil, name))+"</AssumedRoleId><Arn>arn:aws:sts::"+
		c.Caller.Account+":assumed-role/"+string(aws.AppendXMLText(nil, full))+"</Arn></AssumedRoleUser>")
}

// credentials makes temporary ones; durations are in seconds.
func (s *sts) credentials(c *Call, role string, standard, most int) (string, bool) {
	seconds := standard
	if v := c.Form.Get("DurationSeconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 900 || n > most {
			c.Fail(c.Turn, &aws.Error{Status: 400, Code: "ValidationError", Message: "DurationSeconds must be between 900 and " + strconv.Itoa(most)})
			return "", false
		}
		seconds = n
	}
	e := s.endpoint
	key := temporaryPrefix + rand.Text()[:16]
	until := e.opt.Now().Add(time.Duration(seconds) * time.Second)
	token := e.seal(session{Key: key, User: c.Caller.User.Name, Account: c.Caller.Account, Role: strings.Clone(role), Until: until.Unix()})
	return "<Credentials><AccessKeyId>" + key + "</AccessKeyId><SecretAccessKey>" + e.temporarySecret(key) + "</SecretAccessKey><SessionToken>" +
		token + "</SessionToken><Expiration>" + until.UTC().Format("2006-01-02T15:04:05Z") + "</Expiration></Credentials>", true
}
