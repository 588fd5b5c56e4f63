package openwire

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.RemoveBinary()
	os.Exit(code)
}

// generation is one version of the client.
type generation struct {
	name    string
	profile string // of Maven
	build   string // folder below java/target
	replace string // glob of jars that take the place of Maven's activemq-*.jar
}

var generations = []generation{
	{name: "javax", build: "javax"},
	{name: "jakarta", profile: "-Pjakarta", build: "jakarta"},
	{name: "debian", build: "javax", replace: "/usr/share/java/{activemq-client,activemq-openwire-legacy,geronimo-j2ee-management-1.1-spec}.jar"},
}

// wantedGenerations are those that CLIENTS names, else all whose jars are there.
func wantedGenerations(t *testing.T) (run []generation) {
	t.Helper()
	if _, err := exec.LookPath("mvn"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	wanted := strings.Fields(os.Getenv("CLIENTS"))
	for _, g := range generations {
		switch {
		case len(wanted) > 0 && !slices.Contains(wanted, g.name):
		case g.replace != "" && len(wanted) == 0 && len(jars(g.replace)) == 0:
		default:
			run = append(run, g)
		}
	}
	return run
}

// TestClients runs every scenario with every generation of the client. Each
// generation has a broker of its own, so that they run side by side.
func TestClients(t *testing.T) {
	run := wantedGenerations(t)
	for _, g := range run {
		g.compile(t)
	}
	for i, g := range run {
		t.Run(g.name, func(t *testing.T) {
			if os.Getenv("BROKER_URL") == "" {
				t.Parallel()
			}
			g.run(t, i == 0)
		})
	}
}

func (g generation) compile(t *testing.T) {
	t.Helper()
	args := []string{"-q", "-B", "--no-transfer-progress", "package"}
	if g.profile != "" {
		args = append(args, g.profile)
	}
	cmd := exec.Command("mvn", args...)
	cmd.Dir = "java"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mvn %v: %v\n%s", args, err, out)
	}
}

// jars expands a glob with one pair of braces.
func jars(glob string) []string {
	open, end := strings.IndexByte(glob, '{'), strings.IndexByte(glob, '}')
	var found []string
	for _, alternative := range strings.Split(glob[open+1:end], ",") {
		names, _ := filepath.Glob(glob[:open] + alternative + glob[end+1:])
		found = append(found, names...)
	}
	return found
}

func (g generation) classpath(t *testing.T) string {
	t.Helper()
	path := []string{filepath.Join("java", "target", g.build, "classes")}
	if g.replace != "" {
		path = append(path, jars(g.replace)...)
	}
	lib, err := filepath.Glob(filepath.Join("java", "target", g.build, "lib", "*.jar"))
	if err != nil || len(lib) == 0 {
		t.Fatalf("no libraries were built: %v", err)
	}
	for _, jar := range lib {
		if g.replace == "" || !strings.HasPrefix(filepath.Base(jar), "activemq-") {
			path = append(path, jar)
		}
	}
	return strings.Join(path, ":")
}

// verdict is a line of the runner: verdict, line of the checklist or JORAM, method,
// seconds.
var verdict = regexp.MustCompile(`^(PASS|FAIL|SKIP) ((?:JORAM|(?:OW|STOMP|TLS)-\d+) \S+) ([\d.]+)$`)

// run runs the scenarios and makes each a subtest. With raw, also those that
// do not depend on the client.
func (g generation) run(t *testing.T, raw bool) {
	env := broker(t)
	if !raw {
		env = append(env, "RAW=off")
	}
	vectors, err := filepath.Abs("../../broker/selector/testdata/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	g.java(t, "openwire.Runner", append(env, "VECTORS="+vectors, "DEVIATIONS=deviations.txt"))
}

// java runs a main class that prints verdicts and makes each a subtest.
func (g generation) java(t *testing.T, class string, env []string) {
	t.Helper()
	cmd := exec.Command("java", "-Xmx1g", "-cp", g.classpath(t), class)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var diag strings.Builder
	cmd.Stderr = &diag
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	n := 0
	var last []string // verdict, title and the lines below it
	flush := func() {
		if last == nil {
			return
		}
		n++
		t.Run(last[1], func(t *testing.T) {
			switch text := strings.Join(last[2:], "\n"); last[0] {
			case "FAIL":
				t.Error(text)
			case "SKIP":
				t.Skip(text)
			default:
				if text != "" {
					t.Log(text)
				}
			}
		})
		last = nil
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if m := verdict.FindStringSubmatch(line); m != nil {
			flush()
			last = []string{m[1], m[2]}
			if len(m[3]) > len("9.99") {
				last = append(last, m[3]+" s")
			}
		} else if last != nil && strings.HasPrefix(line, "    ") {
			last = append(last, line[4:])
		} else {
			flush()
			t.Log(line)
		}
	}
	flush()
	if err := cmd.Wait(); err != nil && !t.Failed() {
		t.Errorf("java: %v\n%s", err, diag.String())
	}
	if n == 0 && os.Getenv("RUN") != "" && !t.Failed() {
		t.Skip("RUN names none of these scenarios")
	}
	if n == 0 {
		t.Errorf("no scenario ran\n%s", diag.String())
	}
}
