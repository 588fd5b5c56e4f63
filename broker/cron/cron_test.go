package cron

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	at := func(s string) time.Time {
		x, err := time.Parse("2006-01-02 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []struct{ entry, from, next string }{
		{"* * * * *", "2026-11-28 05:06:07", "2026-11-28 05:07:00"},
		{"0 * * * *", "2026-11-28 05:06:07", "2026-11-28 06:00:00"},
		{"0 2 * * *", "2026-11-28 05:06:07", "2026-11-29 02:00:00"},
		{"30 4 1,15 * *", "2026-11-28 05:06:07", "2026-12-01 04:30:00"},
		{"*/15 9-17 * * mon-fri", "2026-11-28 05:06:07", "2026-11-30 09:00:00"},
		{"0 0 29 feb *", "2026-11-28 05:06:07", "2028-02-29 00:00:00"},
		{"0 0 13 * 5", "2026-11-28 05:06:07", "2026-12-04 00:00:00"},
		{"0 0 * * 7", "2026-11-28 05:06:07", "2026-11-29 00:00:00"},
		{"59 23 31 12 *", "2026-12-31 23:59:00", "2027-12-31 23:59:00"},
		{"5/20 * * * *", "2026-11-28 05:06:07", "2026-11-28 05:25:00"},
	} {
		e, err := Parse(c.entry)
		if err != nil {
			t.Errorf("%s: %v", c.entry, err)
			continue
		}
		if got := e.Next(at(c.from)); !got.Equal(at(c.next)) {
			t.Errorf("%s after %s is %s, not %s", c.entry, c.from, got, c.next)
		}
	}
	if e, err := Parse("0 0 30 2 *"); err != nil || !e.Next(at("2026-01-01 00:00:00")).IsZero() {
		t.Error("30 February comes")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8",
		"a * * * *", "5-1 * * * *", "*/0 * * * *", "1, * * * *", "-1 * * * *"} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("*/5 1-2,4 * jan sun")
	f.Fuzz(func(t *testing.T, s string) {
		if e, err := Parse(s); err == nil {
			e.Next(time.Unix(0, 0).UTC())
		}
	})
}
