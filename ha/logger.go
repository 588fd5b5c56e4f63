package ha

import (
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// hlogger gives raft's and raft-wal's warnings and errors to slog and drops
// the rest.
type hlogger struct {
	slog   *slog.Logger
	name   string
	args   []any
	single bool // drop what is only news on a cluster
}

func (l *hlogger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Warn:
		l.Warn(msg, args...)
	case hclog.Error:
		l.Error(msg, args...)
	}
}

func (l *hlogger) Trace(string, ...any) {}
func (l *hlogger) Debug(string, ...any) {}
func (l *hlogger) Info(string, ...any)  {}

func (l *hlogger) Warn(msg string, args ...any) {
	// A single voter elects itself at every start by letting the timer run out.
	if l.single && strings.HasPrefix(msg, "heartbeat timeout reached, starting election") {
		return
	}
	l.slog.Warn(l.name+": "+msg, args...)
}

func (l *hlogger) Error(msg string, args ...any) { l.slog.Error(l.name+": "+msg, args...) }

func (l *hlogger) IsTrace() bool { return false }
func (l *hlogger) IsDebug() bool { return false }
func (l *hlogger) IsInfo() bool  { return false }
func (l *hlogger) IsWarn() bool  { return true }
func (l *hlogger) IsError() bool { return true }

func (l *hlogger) ImpliedArgs() []any { return l.args }

func (l *hlogger) With(args ...any) hclog.Logger {
	with := *l
	with.slog = l.slog.With(args...)
	with.args = append(l.args[:len(l.args):len(l.args)], args...)
	return &with
}

func (l *hlogger) Name() string { return l.name }

func (l *hlogger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

func (l *hlogger) ResetNamed(name string) hclog.Logger {
	named := *l
	named.name = name
	return &named
}

func (l *hlogger) SetLevel(hclog.Level)  {}
func (l *hlogger) GetLevel() hclog.Level { return hclog.Warn }

func (l *hlogger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

func (l *hlogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return warnWriter{l} }

type warnWriter struct{ l *hlogger }

func (w warnWriter) Write(b []byte) (int, error) {
	w.l.Warn(strings.TrimSpace(string(b)))
	return len(b), nil
}
