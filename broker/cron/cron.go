// Package cron reads crontab entries of five fields (minute, hour, day of the
// month, month, day of the week) and tells when they next apply.
//
// A field is *, a number, a range a-b, a list of those with commas, each with
// an optional step /n. Days of the week count from 0 or 7, Sunday, and months
// and days may be named by their first three English letters. If both day
// fields are restricted, a day that fits either counts.
package cron

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Entry is a compiled crontab entry. It is immutable.
type Entry struct {
	minute, hour, day, month, weekday uint64 // bit sets
	anyDay, anyWeekday                bool
}

// field describes one of the five: its bounds and the names of its values.
type field struct {
	name     string
	min, max int
	names    string // three letters each, from min on
}

var fields = [5]field{
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day of month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"day of week", 0, 7, "sunmontuewedthufrisat"},
}

// maxLength bounds the text of an entry in bytes.
const maxLength = 256

// Parse compiles an entry.
func Parse(text string) (*Entry, error) {
	words := strings.Fields(text)
	if len(text) > maxLength || len(words) != len(fields) {
		return nil, fmt.Errorf("cron: %.64q has not five fields", text)
	}
	var sets [5]uint64
	for i := range fields {
		set, err := fields[i].parse(words[i])
		if err != nil {
			return nil, err
		}
		sets[i] = set
	}
	if sets[4]&(1<<7) != 0 { // Sunday is 0 and 7
		sets[4] = sets[4]&^(1<<7) | 1
	}
	return &Entry{
		minute: sets[0], hour: sets[1], day: sets[2], month: sets[3], weekday: sets[4],
		anyDay: words[2] == "*", anyWeekday: words[4] == "*",
	}, nil
}

func (f *field) parse(word string) (set uint64, err error) {
	for part := range strings.SplitSeq(word, ",") {
		body, step, stepped := strings.Cut(part, "/")
		n := 1
		if stepped {
			if n, err = strconv.Atoi(step); err != nil || n < 1 {
				return 0, f.bad(word)
			}
		}
		low, high := f.min, f.max
		if body != "*" {
			first, last, isRange := strings.Cut(body, "-")
			if low, err = f.value(first); err != nil {
				return 0, f.bad(word)
			}
			switch {
			case isRange:
				if high, err = f.value(last); err != nil || high < low {
					return 0, f.bad(word)
				}
			case !stepped:
				high = low
			}
		} else if f.max == 7 {
			high = 6
		}
		for v := low; v <= high; v += n {
			set |= 1 << v
		}
	}
	return set, nil
}

func (f *field) value(word string) (int, error) {
	if len(word) == 3 && f.names != "" {
		if i := strings.Index(f.names, strings.ToLower(word)); i >= 0 && i%3 == 0 {
			return f.min + i/3, nil
		}
	}
	v, err := strconv.Atoi(word)
	if err != nil || v < f.min || v > f.max {
		return 0, f.bad(word)
	}
	return v, nil
}

func (f *field) bad(word string) error { return fmt.Errorf("cron: bad %s %.64q", f.name, word) }

// maxYears is how far ahead Next looks: 29 February comes every eight years at
// least.
const maxYears = 9

// Next returns the first time after t, to the minute and in t's location, to
// which the entry applies; the zero time if there is none.
func (e *Entry) Next(t time.Time) time.Time {
	t = t.Truncate(time.Minute).Add(time.Minute)
	end := t.AddDate(maxYears, 0, 0)
	for t.Before(end) {
		switch {
		case e.month&(1<<int(t.Month())) == 0:
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, t.Location())
		case !e.fitsDay(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, t.Location())
		case e.hour&(1<<t.Hour()) == 0:
			// By the hour, not by the clock's date: a day may lack an hour.
			t = t.Truncate(time.Minute).Add(time.Duration(60-t.Minute()) * time.Minute)
		case e.minute&(1<<t.Minute()) == 0:
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

func (e *Entry) fitsDay(t time.Time) bool {
	day, weekday := e.day&(1<<t.Day()) != 0, e.weekday&(1<<int(t.Weekday())) != 0
	if e.anyDay || e.anyWeekday {
		return day && weekday
	}
	return day || weekday
}
