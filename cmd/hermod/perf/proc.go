package perf

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Linux counts CPU time for user space in ticks of 10 ms on every platform Go
// runs on.
const tick = 10 * time.Millisecond

// process is what /proc says of a process, all its threads together.
type process struct {
	CPU time.Duration // user and system
	RSS int64         // bytes
}

// machine is what /proc/stat says of all CPUs together.
type machine struct {
	CPUs  int
	Busy  time.Duration
	Total time.Duration
}

func readProcess(pid int) (process, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	cpu, err := parseStat(b)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if b, err = os.ReadFile(dir + "/statm"); err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	pages, err := parseStatm(b)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{CPU: cpu, RSS: pages * int64(os.Getpagesize())}, nil
}

// readProcesses adds up several processes.
func readProcesses(pids []int) (process, error) {
	var sum process
	for _, pid := range pids {
		p, err := readProcess(pid)
		if err != nil {
			return process{}, err
		}
		sum.CPU += p.CPU
		sum.RSS += p.RSS
	}
	return sum, nil
}

// parseStat returns utime + stime, fields 14 and 15 of /proc/PID/stat. The
// command's name, field 2, is in parentheses and may contain anything.
func parseStat(b []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return 0, fmt.Errorf("malformed stat")
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat with %d fields after the name", len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("malformed stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// parseStatm returns the resident pages, field 2 of /proc/PID/statm.
func parseStatm(b []byte) (int64, error) {
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, fmt.Errorf("malformed statm")
	}
	n, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("malformed statm: %w", err)
	}
	return n, nil
}

func readMachine() (machine, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machine{}, err
	}
	return parseMachine(b)
}

// parseMachine reads the line "cpu" of /proc/stat: user nice system idle
// iowait irq softirq steal; what follows is counted in user already.
func parseMachine(b []byte) (machine, error) {
	var m machine
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu"):
		case fields[0] != "cpu":
			m.CPUs++
		default:
			for i, f := range fields[1:min(len(fields), 9)] {
				n, err := strconv.ParseInt(f, 10, 64)
				if err != nil {
					return machine{}, fmt.Errorf("malformed /proc/stat: %w", err)
				}
				m.Total += time.Duration(n) * tick
				if i != 3 && i != 4 {
					m.Busy += time.Duration(n) * tick
				}
			}
		}
	}
	if m.CPUs == 0 || m.Total == 0 {
		return machine{}, fmt.Errorf("malformed /proc/stat: no CPUs")
	}
	return m, nil
}
