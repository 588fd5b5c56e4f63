package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hermodmq/hermod"

// rule says what the packages below a folder may import. Folders are matched
// as path patterns, the first rule that matches wins. Imports of a package
// from its own subtree are stated like any other.
type rule struct {
	folder string
	ours   []string // patterns of our folders; "**" ends a pattern that covers a subtree
	others []string // module path prefixes
}

// rules mirror section 1 of the architecture: inner things know nothing of
// outer ones.
var rules = []rule{
	{folder: "broker/brokertest", ours: []string{"broker/**"}, others: []string{"pgregory.net/rapid"}},
	{folder: "broker/password", others: []string{"golang.org/x/crypto"}},
	{folder: "broker/*"},
	{folder: "broker", ours: []string{"broker/topic", "broker/selector", "broker/filter", "broker/cron", "broker/password"}},
	{folder: "listeners/*/wire"},
	{folder: "listeners/transport/**", ours: []string{"listeners/transport/**"},
		others: []string{"github.com/panjf2000/gnet/v2", "github.com/gobwas/ws", "golang.org/x/sys"}},
	{folder: "listeners/http/**", ours: []string{"broker", "broker/*", "listeners/transport", "listeners/http/**"},
		others: []string{"github.com/prometheus/client_golang"}},
	{folder: "listeners/delivery", ours: []string{"broker", "listeners/transport"}},
	{folder: "listeners/*", ours: []string{"broker", "broker/topic", "broker/selector", "listeners/delivery", "listeners/transport", "{own}/wire"}},
	{folder: "persistence/vfs", others: []string{"golang.org/x/sys"}},
	{folder: "persistence/meta", ours: []string{"persistence/vfs"}, others: []string{"go.etcd.io/bbolt"}},
	{folder: "persistence/storetest", ours: []string{"broker", "broker/*", "persistence/**"}},
	{folder: "persistence/**", ours: []string{"broker", "persistence/**"}, others: []string{"go.etcd.io/bbolt", "golang.org/x/sys"}},
	{folder: "ha/**", ours: []string{"broker", "persistence/**", "ha/**"},
		others: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/hashicorp/go-hclog", "go.etcd.io/bbolt", "golang.org/x/sys"}},
	{folder: "bridge/aws/**", ours: []string{"bridge/aws/**"}},
	{folder: "bridge/**", ours: []string{"broker", "broker/*", "bridge/**", "listeners/*/wire"}},
	{folder: "conformance/**"},
	{folder: "cmd/**", ours: []string{"**"}, others: []string{"github.com/", "golang.org/x/", "gopkg.in/yaml.v3", "go.etcd.io/", "go.uber.org/"}},
}

// testOnly may be imported by tests anywhere; a test may also import what the
// fixtures of a package offer.
var testOnly = rule{
	ours:   []string{"broker", "broker/brokertest", "persistence/storetest", "persistence/vfs"},
	others: []string{"pgregory.net/rapid"},
}

// source is one parsed Go file of the main module.
type source struct {
	path string // slash-separated, from the root of the repository
	file *ast.File
	fset *token.FileSet
}

func (s source) folder() string { return path.Dir(s.path) }
func (s source) test() bool     { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file of the main module. It parses the files itself,
// so that the test cache sees them: a rule broken later is not answered from
// the cache.
func sources(t *testing.T, mode parser.Mode) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipFolder(name, d.Name())
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, mode)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", name)
		out = append(out, source{filepath.ToSlash(rel), f, fset})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// skipFolder leaves out nested modules, dot folders and test data.
func skipFolder(name, base string) error {
	if name == ".." {
		return nil
	}
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || base == "bin" || base == "data" {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func TestLayering(t *testing.T) {
	for _, s := range sources(t, parser.ImportsOnly) {
		r, ok := ruleFor(s.folder())
		if !ok {
			t.Errorf("%s: no layering rule covers this folder", s.path)
			continue
		}
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !allowed(r, s, imported) {
				t.Errorf("%s: %s must not import %s", s.fset.Position(spec.Pos()), s.folder(), imported)
			}
		}
	}
}

func ruleFor(folder string) (rule, bool) {
	for _, r := range rules {
		if covers(r.folder, folder) {
			return r, true
		}
	}
	return rule{}, false
}

func allowed(r rule, s source, imported string) bool {
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		if covers("cmd/**", ours) {
			return covers("cmd/**", s.folder())
		}
		if ours == s.folder() { // an external test package imports its subject
			return s.test()
		}
		return oursAllowed(r, s.folder(), ours) || s.test() && oursAllowed(testOnly, s.folder(), ours)
	}
	if imported == "C" || imported == module {
		return false
	}
	if !strings.Contains(strings.Split(imported, "/")[0], ".") {
		return true // standard library
	}
	return hasPrefix(r.others, imported) || s.test() && hasPrefix(testOnly.others, imported)
}

func oursAllowed(r rule, folder, imported string) bool {
	for _, p := range r.ours {
		if covers(strings.Replace(p, "{own}", folder, 1), imported) {
			return true
		}
	}
	return false
}

func hasPrefix(prefixes []string, s string) bool {
	for _, p := range prefixes {
		if s == p || strings.HasPrefix(s, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

// covers reports whether a folder pattern matches a folder. "*" is one path
// element, a final "**" the folder itself and everything below.
func covers(pattern, folder string) bool {
	if base, ok := strings.CutSuffix(pattern, "**"); ok {
		base = strings.TrimSuffix(base, "/")
		return base == "" || folder == base || strings.HasPrefix(folder, base+"/")
	}
	ok, err := path.Match(pattern, folder)
	return ok && err == nil
}

func TestLayeringRulesBite(t *testing.T) {
	for _, c := range []struct {
		file, imported string
		want           bool
	}{
		{"broker/queue.go", module + "/broker/topic", true},
		{"broker/queue.go", module + "/listeners/amqp", false},
		{"broker/queue.go", "github.com/panjf2000/gnet/v2", false},
		{"broker/topic/trie.go", module + "/broker", false},
		{"listeners/amqp/wire/frame.go", "encoding/binary", true},
		{"listeners/amqp/wire/frame.go", module + "/broker", false},
		{"listeners/amqp/conn.go", module + "/listeners/amqp/wire", true},
		{"listeners/amqp/conn.go", module + "/listeners/mqtt/wire", false},
		{"listeners/amqp/conn.go", module + "/persistence", false},
		{"listeners/transport/engine.go", module + "/broker", false},
		{"listeners/transport/engine.go", "github.com/panjf2000/gnet/v2", true},
		{"persistence/store.go", module + "/broker", true},
		{"persistence/store.go", module + "/ha", false},
		{"ha/log.go", module + "/persistence", true},
		{"bridge/link/amqp.go", module + "/listeners/amqp/wire", true},
		{"bridge/link/amqp.go", module + "/listeners/amqp", false},
		{"cmd/hermod/main.go", module + "/ha", true},
		{"ha/log.go", module + "/cmd/hermod", false},
		{"ha/log_test.go", module + "/persistence/storetest", true},
	} {
		s := source{path: c.file}
		r, ok := ruleFor(s.folder())
		if !ok {
			t.Errorf("%s: no rule", c.file)
		}
		if got := allowed(r, s, c.imported); got != c.want {
			t.Errorf("%s importing %s: allowed = %v, want %v", c.file, c.imported, got, c.want)
		}
	}
}
