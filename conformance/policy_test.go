package conformance

import (
	"go/ast"
	"go/parser"
	"strings"
	"testing"
)

func TestPackageDocs(t *testing.T) {
	documented, where := map[string]bool{}, map[string]string{}
	for _, s := range sources(t, parser.PackageClauseOnly|parser.ParseComments) {
		if s.test() {
			continue
		}
		where[s.folder()] = s.path
		if doc := s.file.Doc.Text(); doc == "" {
			continue
		} else if name := s.file.Name.Name; !strings.HasPrefix(doc, "Package "+name+" ") && name != "main" {
			t.Errorf("%s: package comment must begin with %q", s.path, "Package "+name)
		}
		documented[s.folder()] = true
	}
	for folder, file := range where {
		if !documented[folder] {
			t.Errorf("%s: package %s has no package comment", file, folder)
		}
	}
}

// ban forbids calls of one package's functions in some files.
type ban struct {
	pkg   string            // import path
	calls []string          // function names; a trailing * matches any ending
	in    func(source) bool // where the calls are forbidden
	why   string
}

var bans = []ban{
	{"time", []string{"Sleep"}, source.test, "wait for the event instead"},
	{"fmt", []string{"Print*"}, outsideCommand, "standard output belongs to cmd; log with the slog handed down"},
	{"log", []string{"Print*", "Fatal*", "Panic*", "Default", "Set*"}, outsideCommand, "log with the slog handed down"},
	{"time", []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}, insideCore, "the core is told the time"},
	{"sync/atomic", []string{"AddInt*", "AddUint*", "LoadInt*", "LoadUint*", "StoreInt*", "StoreUint*", "CompareAndSwap*"},
		func(source) bool { return true }, "use the atomic types"},
}

func outsideCommand(s source) bool { return !s.test() && !covers("cmd/**", s.folder()) }

// insideCore is the core proper; the in-memory store beside it is one of the
// shells that tell the core the time.
func insideCore(s source) bool {
	return !s.test() && s.folder() == "broker" && s.path != "broker/memstore.go"
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if generator(s) {
			continue
		}
		for _, b := range bans {
			if b.in(s) {
				reportCalls(t, s, b)
			}
		}
	}
}

// generator reports whether a file is a program for go generate (build tag
// ignore): it is its own command.
func generator(s source) bool {
	return s.file.Name.Name == "main" && !covers("cmd/**", s.folder())
}

func reportCalls(t *testing.T, s source, b ban) {
	t.Helper()
	name := importedAs(s.file, b.pkg)
	if name == "" {
		return
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && named(b.calls, sel.Sel.Name) {
			t.Errorf("%s: %s.%s: %s", s.fset.Position(sel.Pos()), b.pkg, sel.Sel.Name, b.why)
		}
		return true
	})
}

func named(patterns []string, name string) bool {
	for _, p := range patterns {
		prefix, wild := strings.CutSuffix(p, "*")
		if p == name || wild && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// importedAs is the name a file uses for a package, "" when it does not
// import it.
func importedAs(f *ast.File, pkg string) string {
	for _, spec := range f.Imports {
		if spec.Path.Value != `"`+pkg+`"` {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return pkg[strings.LastIndex(pkg, "/")+1:]
	}
	return ""
}
