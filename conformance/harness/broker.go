package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ReadyTimeout bounds how long [Start] waits for the line that says ready.
const ReadyTimeout = 60 * time.Second

// Options say how a broker is started. The zero value starts only the AMQP
// listener, on a free loopback port.
type Options struct {
	// DataDir is the broker's data folder. Required.
	DataDir string
	// Set holds key=value settings, given to --set after the harness's own,
	// so that they win.
	Set []string
	// Env holds NAME=value pairs added to the environment.
	Env []string
	// Bin is the program; "" is that of [Binary].
	Bin string
}

// Broker is one hermod process and what it takes to start it again. Its
// methods are for one goroutine, except CTL.
type Broker struct {
	bin       string
	options   Options
	cmd       *exec.Cmd
	listeners map[string]string
	exited    chan struct{}
	log       *tail
}

// Start builds hermod if needed, starts it and waits until it is ready.
func Start(o Options) (*Broker, error) {
	bin := o.Bin
	if bin == "" {
		var err error
		if bin, err = Binary(); err != nil {
			return nil, err
		}
	}
	b := &Broker{bin: bin, options: o, log: &tail{}}
	return b, b.start()
}

// Addr is the address the listener of that name bound ("amqp", "amqp tls"),
// or "" when it is off.
func (b *Broker) Addr(listener string) string { return b.listeners[listener] }

// Listeners returns every listener that was announced, by name.
func (b *Broker) Listeners() map[string]string { return b.listeners }

// PID is the process id of the running broker.
func (b *Broker) PID() int { return b.cmd.Process.Pid }

// DataDir is the broker's data folder.
func (b *Broker) DataDir() string { return b.options.DataDir }

// Log returns the last output of the broker, for failure messages.
func (b *Broker) Log() string { return b.log.String() }

// Exited is closed when the process has ended, for whatever reason.
func (b *Broker) Exited() <-chan struct{} { return b.exited }

// Kill ends the process with SIGKILL and waits for its end.
func (b *Broker) Kill() {
	_ = b.cmd.Process.Kill()
	<-b.exited
}

// Stop asks the broker to drain (SIGTERM), waits up to limit, then kills. The
// error says that the broker did not end in time or not with status 0.
func (b *Broker) Stop(limit time.Duration) error {
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-b.exited:
	case <-time.After(limit):
		b.Kill()
		return fmt.Errorf("broker did not drain within %v", limit)
	}
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("broker exited with status %d: %s", code, b.Log())
	}
	return nil
}

// Restart starts a broker that was killed or stopped again, on the same data
// and on the addresses it had.
func (b *Broker) Restart() error {
	for name, addr := range b.listeners {
		b.options.Set = append(b.options.Set, settingOf(name)+"="+addr)
	}
	return b.start()
}

// CTL runs one operator command against this broker and returns its output.
func (b *Broker) CTL(args ...string) (string, error) {
	return Run(b.bin, append([]string{"ctl", "--data-dir", b.options.DataDir}, args...)...)
}

// Run runs a command to its end (at most a minute) and returns its standard
// output; the error carries standard error.
func Run(name string, args ...string) (string, error) {
	var out, diag bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, diag.String())
	}
	return out.String(), nil
}

// quiet are the settings of every broker: AMQP on a free port, all other
// listeners that are on by default off. A suite sets what it needs after them.
var quiet = []string{
	"listeners.amqp.address=127.0.0.1:0",
	"listeners.metrics.address=off",
	"listeners.mqtt.address=off",
	"listeners.mqtt.websocket_address=off",
	"listeners.stomp.address=off",
	"listeners.stomp.websocket_address=off",
	"listeners.aws.address=off",
	"listeners.openwire.address=off",
	"limits.disk_free=1MiB",
}

func (b *Broker) start() error {
	args := []string{"serve", "--data-dir", b.options.DataDir}
	for _, kv := range append(append([]string(nil), quiet...), b.options.Set...) {
		args = append(args, "--set", kv)
	}
	cmd := exec.Command(b.bin, args...)
	cmd.Env = append(os.Environ(), b.options.Env...)
	cmd.Stderr = b.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd, b.exited, b.listeners = cmd, make(chan struct{}), map[string]string{}
	ready := make(chan map[string]string, 1)
	go b.watch(stdout, ready, b.exited)
	select {
	case b.listeners = <-ready:
		return nil
	case <-b.exited:
		return fmt.Errorf("broker ended before it was ready: %s", b.Log())
	case <-time.After(ReadyTimeout):
		b.Kill()
		return fmt.Errorf("broker was not ready within %v: %s", ReadyTimeout, b.Log())
	}
}

// watch reads standard output to its end, reports the listeners at the line
// that says ready, and closes exited when the process is gone.
func (b *Broker) watch(stdout io.Reader, ready chan<- map[string]string, exited chan<- struct{}) {
	listeners, announced := map[string]string{}, false
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(b.log, line)
		if name, addr, ok := parseListener(line); ok {
			listeners[name] = addr
		}
		if !announced && strings.Contains(line, "ready") {
			announced = true
			ready <- listeners
		}
	}
	_, _ = io.Copy(io.Discard, stdout)
	_ = b.cmd.Wait()
	close(exited)
}

// parseListener reads "listener <name...> <host:port>"; the name may be more
// than one word.
func parseListener(line string) (name, addr string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "listener" {
		return "", "", false
	}
	addr = f[len(f)-1]
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return "", "", false
	}
	return strings.Join(f[1:len(f)-1], " "), addr, true
}

// settingOf is the configuration key of an announced listener: "amqp" is
// listeners.amqp.address, "amqp tls" (or amqp-tls, amqps) its tls_address.
func settingOf(listener string) string {
	if listener == "peers" {
		return "ha.bind"
	}
	f := strings.FieldsFunc(listener, func(r rune) bool { return r == ' ' || r == '-' })
	if len(f) >= 2 {
		return "listeners." + f[0] + "." + strings.Join(f[1:], "_") + "_address"
	}
	if base, ok := strings.CutSuffix(listener, "s"); ok && base != "aw" && base != "metric" {
		return "listeners." + base + ".tls_address"
	}
	return "listeners." + listener + ".address"
}

var build struct {
	once sync.Once
	bin  string
	err  error
}

// Binary returns the path of the hermod binary under test.
func Binary() (string, error) {
	if bin := os.Getenv("HERMOD_BIN"); bin != "" {
		return bin, nil
	}
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "hermod-bin-")
		if err != nil {
			build.err = err
			return
		}
		build.bin = filepath.Join(dir, "hermod")
		_, file, _, ok := runtime.Caller(0)
		if !ok {
			build.err = errors.New("source path unknown: set HERMOD_BIN")
			return
		}
		cmd := exec.Command("go", "build", "-o", build.bin, "./cmd/hermod")
		cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build hermod: %w: %s", err, out)
		}
	})
	return build.bin, build.err
}

// RemoveBinary deletes the binary that [Binary] built, if it did.
func RemoveBinary() {
	if build.bin != "" {
		_ = os.RemoveAll(filepath.Dir(build.bin))
	}
}

// tail keeps the last 64 KiB written to it. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytesMax = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytesMax; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
