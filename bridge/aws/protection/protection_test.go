package protection

import (
	"strings"
	"testing"
)

// What each identifier finds in a text, and what it leaves alone.
func TestIdentifiers(t *testing.T) {
	for _, c := range []struct{ name, text, found string }{
		{"EmailAddress", "Mail ann.lee+x@example.co.uk, or <bob@a-b.de>.", "ann.lee+x@example.co.uk|bob@a-b.de"},
		{"EmailAddress", `{"to":"c@d.org"} e@f.com.`, "c@d.org|e@f.com"},
		{"EmailAddress", "a@b @c.de x@.de x@d..de y@z.1 @ user@host", ""},
		{"CreditCardNumber", "pay 4111 1111 1111 1111 now", "4111 1111 1111 1111"},
		{"CreditCardNumber", "5555555555554444,378282246310005;6011-1111-1111-1117", "5555555555554444|378282246310005|6011-1111-1111-1117"},
		{"CreditCardNumber", "order 12 4111-1111-1111-1111 3", "4111-1111-1111-1111"},
		{"CreditCardNumber", "4111 1111 1111 1112, x4111111111111111, 41111111111111111111, 1234567890123452", ""},
		{"IpAddress", "from 10.0.0.1:80 to 2001:db8::1, and ::1.", "10.0.0.1|2001:db8::1|::1"},
		{"IpAddress", "at 12:30:45 version 1.2.3 and 1.2.3.4.5 or 300.1.1.1 v1.2.3.4 abc", ""},
		{"AwsSecretKey", "key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY;", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		{"AwsSecretKey", "da39a3ee5e6b4b0d3255bfef95601890afd80709 wJalrXUtnFEMI", ""},
		{"PkcsPrivateKey", "a -----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY----- b", "-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----"},
		{"PkcsPrivateKey", "-----BEGIN PUBLIC KEY-----", ""},
		{"PkcsPrivateKey", "-----BEGIN CERTIFICATE-----\n-----BEGIN OPENSSH PRIVATE KEY-----\n-----BEGIN PRIVATE KEY-----\ncut", "-----BEGIN PRIVATE KEY-----\ncut"},
		{"OpenSshPrivateKey", "-----BEGIN OPENSSH PRIVATE KEY-----\ncut", "-----BEGIN OPENSSH PRIVATE KEY-----\ncut"},
		{"PgpPrivateKey", "-----BEGIN PGP PRIVATE KEY BLOCK-----y", "-----BEGIN PGP PRIVATE KEY BLOCK-----y"},
		{"PuttyPrivateKey", "PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY-User-Key-File-3: ssh-ed25519"},
		{"Ssn-US", "123-45-6789 and 078 05 1120", "123-45-6789|078 05 1120"},
		{"Ssn-US", "000-45-6789 666-45-6789 923-45-6789 123-00-6789 123-45-0000 1123-45-6789 123-45-67890", ""},
		{"PhoneNumber-US", "call (206) 555-0100, +1 206-555-0101 or 206.555.0102", "(206) 555-0100|+1 206-555-0101|206.555.0102"},
		{"PhoneNumber-US", "106-555-0100 206-155-0100 12065550100 206-555-01000", ""},
		{"VehicleIdentificationNumber", "1M8GDM9AXKP042788 1M8GDM9A0KP042788", "1M8GDM9AXKP042788"},
		{"BankAccountNumber-DE", "DE89 3704 0044 0532 0130 00, DE89370400440532013001 DE89370400440532013000", "DE89 3704 0044 0532 0130 00|DE89370400440532013000"},
		{"BankAccountNumber-GB", "GB29NWBK60161331926819", "GB29NWBK60161331926819"},
		{"BankAccountNumber-FR", "FR1420041010050500013M02606", "FR1420041010050500013M02606"},
		{"BankAccountNumber-ES", "ES9121000418450200051332", "ES9121000418450200051332"},
		{"BankAccountNumber-IT", "IT60X0542811101000000123456", "IT60X0542811101000000123456"},
	} {
		var found []string
		for from := 0; ; {
			start, end := finders[c.name](c.text, from)
			if start < 0 {
				break
			}
			found = append(found, c.text[start:end])
			from = end
		}
		if got := strings.Join(found, "|"); got != c.found {
			t.Errorf("%s in %q: %q, want %q", c.name, c.text, got, c.found)
		}
	}
}

const arn = "arn:aws:dataprotection::aws:data-identifier/"

func doc(statements, rest string) string {
	return `{"Name":"p","Description":"d","Version":"2021-06-01","Statement":[` + statements + `]` + rest + `}`
}

func statementOf(direction, identifier, operation string) string {
	return `{"Sid":"` + direction + `","DataDirection":"` + direction + `","Principal":["*"],"DataIdentifier":["` + identifier + `"],"Operation":` + operation + `}`
}

const (
	deny   = `{"Deny":{}}`
	redact = `{"Deidentify":{"RedactConfig":{}}}`
	mask   = `{"Deidentify":{"MaskConfig":{"MaskWithCharacter":"*"}}}`
	audit  = `{"Audit":{"SampleRate":"50","FindingsDestination":{"CloudWatchLogs":{"LogGroup":"/aws/vendedlogs/x"}},"NoFindingsDestination":{}}}`
)

func TestOperations(t *testing.T) {
	p, err := Parse(doc(strings.Join([]string{
		statementOf("Inbound", arn+"CreditCardNumber", deny), statementOf("Inbound", arn+"EmailAddress", mask),
		statementOf("Inbound", arn+"EmailAddress", audit), statementOf("Inbound", "badge", redact),
		statementOf("Outbound", arn+"IpAddress", redact), strings.Replace(statementOf("Inbound", arn+"IpAddress", deny), `"*"`, `"arn:aws:iam::1:user/bob"`, 1),
	}, ","), `,"Configuration":{"CustomDataIdentifier":[{"Name":"badge","Regex":"B-[0-9]{4}"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Has(Inbound) || !p.Has(Outbound) || (*Policy)(nil).Has(Inbound) {
		t.Error("directions")
	}
	apply := func(d Direction, who string, roll int, text string) (string, Outcome) {
		subject := "s"
		o := p.Apply(d, who, roll, &text, &subject)
		return text, o
	}
	if text, o := apply(Inbound, "a", 99, "a@b.de and B-1234 from 10.0.0.1"); text != "****** and  from 10.0.0.1" || !o.Changed || o.Denied || o.Audits != nil {
		t.Errorf("%q %+v", text, o)
	}
	if text, o := apply(Inbound, "a", 49, "4111111111111111 a@b.de c@d.de"); !o.Denied || o.Changed || text[0] != '4' || len(o.Audits) != 1 || o.Audits[0].Count != 2 || o.Denials[0].Found[0] != "CreditCardNumber" {
		t.Errorf("%q %+v", text, o)
	}
	if _, o := apply(Inbound, "a", 0, "nothing"); len(o.Audits) != 1 || o.Audits[0].Count != 0 || o.Changed {
		t.Errorf("%+v", o)
	}
	if _, o := apply(Inbound, "arn:aws:iam::1:user/bob", 99, "10.0.0.1"); !o.Denied {
		t.Errorf("%+v", o)
	}
	if text, o := apply(Outbound, "", 0, "10.0.0.1 a@b.de"); text != " a@b.de" || !o.Changed {
		t.Errorf("%q %+v", text, o)
	}
	if o := (*Policy)(nil).Apply(Inbound, "", 0); o.Denied || o.Changed {
		t.Errorf("%+v", o)
	}
}

// What cannot be enforced is refused.
func TestRefusals(t *testing.T) {
	in := func(identifier, operation string) string {
		return doc(statementOf("Inbound", identifier, operation), "")
	}
	custom := `,"Configuration":{"CustomDataIdentifier":[{"Name":"c","Regex":"x"}]}`
	for text, want := range map[string]string{
		`{`: "malformed", `{} {}`: "malformed", `{"Name":"p","Version":"2021-06-01","Stmt":[]}`: "unknown field",
		`{"Version":"2021-06-01"}`: "Name", `{"Name":"p","Version":"1"}`: "Version",
		in(arn+"Address", deny): "cannot find " + arn + "Address; it finds AwsSecretKey, ", in("other", deny): "neither",
		in(arn+"EmailAddress", `{}`): "one of", in(arn+"EmailAddress", `{"Deny":{},"Audit":{"SampleRate":"1","FindingsDestination":{}}}`): "one of",
		in(arn+"EmailAddress", `{"Audit":{"SampleRate":"100","FindingsDestination":{}}}`): "SampleRate", in(arn+"EmailAddress", `{"Audit":{"SampleRate":"1"}}`): "destination",
		in(arn+"EmailAddress", `{"Deidentify":{}}`): "Deidentify", in(arn+"EmailAddress", `{"Deidentify":{"MaskConfig":{"MaskWithCharacter":"ab"}}}`): "MaskWithCharacter",
		doc(statementOf("Outbound", arn+"EmailAddress", audit), ""):                                                             "Inbound",
		doc(statementOf("Sideways", arn+"EmailAddress", deny), ""):                                                              "DataDirection",
		doc(statementOf("Outbound", "c", deny), custom):                                                                         "Inbound statements only",
		doc(strings.Replace(statementOf("Outbound", arn+"EmailAddress", deny), `"*"`, `"arn:aws:iam::1:root"`, 1), ""):          "Principal",
		doc(statementOf("Inbound", arn+"EmailAddress", audit)+","+statementOf("Inbound", arn+"EmailAddress", audit), ""):        "more than one Audit",
		doc("", `,"Configuration":{"CustomDataIdentifier":[{"Name":"c","Regex":"("}]}`):                                         "missing",
		doc("", `,"Configuration":{"CustomDataIdentifier":[{"Name":"c","Regex":"`+strings.Repeat("x", 201)+`"}]}`):              "200",
		doc("", `,"Configuration":{"CustomDataIdentifier":[{"Name":"c","Regex":"x"},{"Name":"c","Regex":"x"}]}`):                "twice",
		doc(strings.Replace(statementOf("Inbound", arn+"EmailAddress", deny), `"Sid"`, `"NotPrincipal":["*"],"Sid"`, 1), ""):    "unknown field",
		doc(strings.Replace(statementOf("Inbound", arn+"EmailAddress", deny), `"Principal":["*"]`, `"Principal":[]`, 1), ""):    "Principal",
		doc(strings.Replace(statementOf("Inbound", arn+"EmailAddress", deny), `["`+arn+`EmailAddress"]`, `[]`, 1), ""):          "DataIdentifier",
		doc(strings.TrimSuffix(strings.Repeat(statementOf("Inbound", arn+"EmailAddress", deny)+",", maxStatements+1), ","), ""): "more than 50",
		doc(strings.Replace(statementOf("Inbound", arn+"EmailAddress", deny), arn+"EmailAddress", "arn:aws:s3:::x", 1), ""):     "neither",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: %v, want %q", text, err, want)
		}
	}
	if _, err := Parse(doc("", "")); err != nil {
		t.Error(err)
	}
}

// FuzzFind: finders return places in order within the text, whatever it is, and
// what is redacted is not found again in what it was found in.
func FuzzFind(f *testing.F) {
	f.Add("a@b.de 4111 1111 1111 1111 10.0.0.1 DE89 3704 0044 0532 0130 00 (206) 555-0100 -----BEGIN PRIVATE KEY-----", 0)
	f.Add("@.@..@a.bc@", 3)
	f.Fuzz(func(t *testing.T, text string, from int) {
		if from < 0 || from > len(text) {
			return
		}
		for name, find := range finders {
			for at := from; ; {
				start, end := find(text, at)
				if start < 0 {
					break
				}
				if start < at || end <= start || end > len(text) {
					t.Fatalf("%s: [%d:%d] from %d of %d", name, start, end, at, len(text))
				}
				at = end
			}
		}
	})
}

func BenchmarkManaged(b *testing.B) {
	text := strings.Repeat(`{"order":4711,"customer":"Ann Lee","note":"Mail to ann at example, phone 555, at 12:30:45 on 2026-11-28"} `, 2560)
	for _, name := range Identifiers() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if start, _ := finders[name](text, 0); start >= 0 {
					b.Fatal("found something")
				}
			}
		})
	}
}
