package openwire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// controlled is a broker that scenarios may kill, start and measure.
type controlled interface {
	kill() error
	start() error
	usage() (map[string]int64, error)
}

// broker is the environment of the scenarios: a hermod of their own, or the
// broker that BROKER_URL names.
func broker(t *testing.T) []string {
	t.Helper()
	if os.Getenv("BROKER_URL") != "" {
		command := strings.Fields(os.Getenv("BROKER_CONTROL"))
		if len(command) == 0 {
			return nil
		}
		return []string{"CONTROL=" + serve(t, external(command))}
	}
	tls, env := secure(t)
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: append(settings(t), tls...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's last words:\n%s", b.Log())
		}
		b.Kill()
	})
	if b.Addr("openwire") == "" {
		t.Fatal("no OpenWire listener")
	}
	return append(env,
		"BROKER_KIND=hermod", "BROKER_URL=tcp://"+b.Addr("openwire"), "CONTROL="+serve(t, hermod{b}),
		"AMQP_ADDR="+b.Addr("amqp"), "STOMP_ADDR="+b.Addr("stomp"), "MQTT_ADDR="+b.Addr("mqtt"), "TLS_ADDR="+b.Addr("openwire-tls"), "AWS_ADDR="+b.Addr("aws"),
	)
}

// serve makes a broker controllable over HTTP; calls come one at a time.
func serve(t *testing.T, b controlled) string {
	var mu sync.Mutex
	answer := func(w http.ResponseWriter, act func() error) {
		mu.Lock()
		defer mu.Unlock()
		if err := act(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /kill", func(w http.ResponseWriter, _ *http.Request) { answer(w, b.kill) })
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, _ *http.Request) { answer(w, b.start) })
	mux.HandleFunc("POST /transfer", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, func() error {
			m, ok := b.(members)
			if !ok {
				return errors.New("not a cluster")
			}
			return m.transfer()
		})
	})
	mux.HandleFunc("GET /usage", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, func() error {
			usage, err := b.usage()
			if err != nil {
				return err
			}
			for name, value := range usage {
				fmt.Fprintln(w, name, value)
			}
			return nil
		})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// hermod is a broker of the harness.
type hermod struct{ *harness.Broker }

func (h hermod) kill() error  { h.Kill(); return nil }
func (h hermod) start() error { return h.Restart() }

var (
	goroutines = regexp.MustCompile(`^goroutine profile: total (\d+)`)
	heapAlloc  = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)`)
)

// usage is that of the process, and goroutines and heap after a collection
// from the profiles the broker serves.
func (h hermod) usage() (map[string]int64, error) {
	usage := map[string]int64{}
	for name, profile := range map[string]struct {
		path  string
		value *regexp.Regexp
	}{
		"goroutines": {"goroutine?debug=1", goroutines},
		"heap":       {"heap?gc=1&debug=1", heapAlloc},
	} {
		text, err := fetch("http://" + h.Addr("metrics") + "/debug/pprof/" + profile.path)
		if err != nil {
			return nil, err
		}
		m := profile.value.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("no %s in the profile", name)
		}
		usage[name], _ = strconv.ParseInt(m[1], 10, 64)
	}
	u, err := harness.Sample(h.PID())
	usage["rss"], usage["fds"] = u.RSS, int64(u.FDs)
	return usage, err
}

func fetch(url string) (string, error) {
	client := http.Client{Timeout: time.Minute}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}

// external is a command that controls another broker.
type external []string

func (e external) run(what string) (string, error) {
	out, err := exec.Command(e[0], append(append([]string{}, e[1:]...), what)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%v %s: %w: %s", e, what, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (e external) kill() error  { _, err := e.run("kill"); return err }
func (e external) start() error { _, err := e.run("start"); return err }

func (e external) usage() (map[string]int64, error) {
	out, err := e.run("pid")
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(out)
	if err != nil {
		return nil, err
	}
	u, err := harness.Sample(pid)
	return map[string]int64{"rss": u.RSS, "fds": int64(u.FDs)}, err
}

// settings are those of the hermod under test: all doors open, the user
// "limited" who may neither write nor read FORBIDDEN.>, and the destination
// policies that Policies.java names.
func settings(t *testing.T) []string {
	t.Helper()
	salt := []byte{1, 2, 3, 4}
	hash := sha256.Sum256(append(append([]byte{}, salt...), "limited"...))
	users, err := json.Marshal(map[string]any{
		"users": []map[string]any{{
			"name": certificateUser, "tags": "",
		}, {
			"name": "limited", "tags": "", "hashing_algorithm": "rabbit_password_hashing_sha256",
			"password_hash": base64.StdEncoding.EncodeToString(append(salt, hash[:]...)),
		}},
		"permissions": []map[string]any{{
			"user": certificateUser, "vhost": "/", "configure": "^CAROL", "write": `^(CAROL|amq\.default)`, "read": "^CAROL",
		}, {
			"user": "limited", "vhost": "/", "configure": ".*", "write": "^([^F]|F[^O])", "read": "^([^F]|F[^O])",
		}},
		"policies": []map[string]any{{
			"vhost": "/", "name": "room", "pattern": `^(LIMIT|NOSPACE)\.`, "apply-to": "queues", "priority": 0,
			"definition": map[string]any{"max-length-bytes": 1_000_000, "overflow": "reject-publish"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	definitions := filepath.Join(t.TempDir(), "definitions.json")
	if err := os.WriteFile(definitions, users, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"definitions.import=" + definitions,
		"listeners.openwire.address=127.0.0.1:0",
		"listeners.stomp.address=127.0.0.1:0", "listeners.stomp.dialect=activemq",
		"listeners.mqtt.address=127.0.0.1:0",
		"listeners.metrics.address=127.0.0.1:0", "listeners.metrics.pprof=true",
		"listeners.aws.address=127.0.0.1:0", "aws.auth=relaxed",
		"openwire.individual_dead_letters=IDLQ.>",
		"openwire.prioritized=PRIO.>",
		"openwire.fail_if_no_space=NOSPACE.>",
		"openwire.last_image=RETRO.>",
		"openwire.pending_limits=PENDING.>:10",
	}
}
