package persistence

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const killEnv = "HERMOD_TEST_KILL_DIR"

// TestMetadataSurvivesKill kills a process that commits metadata as fast as it
// can, and expects the last commit it told of, whole.
func TestMetadataSurvivesKill(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		commitForever(dir)
		return
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	last := uint64(0)
	for round := range 5 {
		last = killAfter(t, dir, last+uint64(20+13*round))
		m, err := openBoltMeta(dir, false)
		if err != nil {
			t.Fatal(err)
		}
		got := readCommits(t, m)
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		if got < last {
			t.Fatalf("round %d: commit %d survived, %d was done", round, got, last)
		}
		last = got
	}
}

// killAfter runs the child, kills it when it has told of commit n and returns
// the last number it told.
func killAfter(t *testing.T, dir string, n uint64) uint64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMetadataSurvivesKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told uint64
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, ok := strings.CutPrefix(lines.Text(), "committed ")
		if !ok {
			continue
		}
		if told, err = strconv.ParseUint(word, 10, 64); err != nil {
			t.Fatal(err)
		}
		if told == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	return told
}

// readCommits checks that all rows are of one commit and returns its number.
func readCommits(t *testing.T, m metadata) uint64 {
	t.Helper()
	var numbers []uint64
	err := m.load(bucketLanes, func(_, v []byte) error {
		numbers = append(numbers, binary.LittleEndian.Uint64(v))
		return nil
	})
	if err != nil || len(numbers) != 50 {
		t.Fatalf("%d rows, %v", len(numbers), err)
	}
	for _, n := range numbers {
		if n != numbers[0] {
			t.Fatalf("rows of commits %d and %d", numbers[0], n)
		}
	}
	return numbers[0]
}

func commitForever(dir string) {
	m, err := openBoltMeta(dir, false)
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	n := uint64(0)
	_ = m.load(bucketLanes, func(_, v []byte) error { n = binary.LittleEndian.Uint64(v); return nil })
	for {
		n++
		b := &metaBatch{}
		for id := range uint64(50) {
			b.put(bucketLanes, laneKey(id), binary.LittleEndian.AppendUint64(make([]byte, 0, 300), n)[:300])
		}
		if err := m.commit(b); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		fmt.Println("committed", n)
	}
}
