package perf

import (
	"fmt"
	"io"
	"os"
	"time"
)

// usage is one reading of all the clocks.
type usage struct {
	at      time.Time
	broker  process // of the given pids
	self    process
	machine machine
}

func readUsage(pids []int) (usage, error) {
	u := usage{at: time.Now()}
	var err error
	if u.broker, err = readProcesses(pids); err != nil {
		return u, err
	}
	if u.self, err = readProcess(os.Getpid()); err != nil {
		return u, err
	}
	u.machine, err = readMachine()
	return u, err
}

// cost is what happened between two readings. Shares are of one CPU for
// processes and of all CPUs for the machine.
type cost struct {
	Seconds         float64 `json:"seconds"`
	BrokerMeasured  bool    `json:"broker_measured"`
	BrokerCPU       float64 `json:"broker_cpu_seconds"`
	BrokerPerMsg    float64 `json:"broker_cpu_us_per_message"`
	BrokerShare     float64 `json:"broker_cpu_share"`
	BrokerRSS       int64   `json:"broker_rss_bytes"`
	BrokerRSSPeak   int64   `json:"broker_rss_peak_bytes"`
	ClientCPU       float64 `json:"client_cpu_seconds"`
	ClientPerMsg    float64 `json:"client_cpu_us_per_message"`
	MachineCPUs     int     `json:"machine_cpus"`
	MachineBusy     float64 `json:"machine_busy_share"`
	MachineByOthers float64 `json:"machine_busy_by_others_share"`
}

// costBetween charges the CPU time between two readings to n messages.
func costBetween(a, b usage, pids []int, n int64, peakRSS int64) cost {
	wall := b.at.Sub(a.at).Seconds()
	total := (b.machine.Total - a.machine.Total).Seconds()
	c := cost{
		Seconds:        wall,
		BrokerMeasured: len(pids) > 0,
		BrokerCPU:      (b.broker.CPU - a.broker.CPU).Seconds(),
		BrokerRSS:      b.broker.RSS,
		BrokerRSSPeak:  max(peakRSS, b.broker.RSS),
		ClientCPU:      (b.self.CPU - a.self.CPU).Seconds(),
		MachineCPUs:    b.machine.CPUs,
	}
	if n > 0 {
		c.BrokerPerMsg = c.BrokerCPU / float64(n) * 1e6
		c.ClientPerMsg = c.ClientCPU / float64(n) * 1e6
	}
	if wall > 0 {
		c.BrokerShare = c.BrokerCPU / wall
	}
	if total > 0 {
		busy := (b.machine.Busy - a.machine.Busy).Seconds()
		c.MachineBusy = busy / total
		c.MachineByOthers = max(busy-c.BrokerCPU-c.ClientCPU, 0) / total
	}
	return c
}

// writeText prints c. what names the measured processes, unit a message.
func (c *cost) writeText(w io.Writer, what, unit string) {
	if c.BrokerMeasured {
		fmt.Fprintf(w, "%-10s %.2f us CPU per %s, %.0f %% of one CPU, RSS %s (peak %s)\n",
			what, c.BrokerPerMsg, unit, c.BrokerShare*100, bytesText(c.BrokerRSS), bytesText(c.BrokerRSSPeak))
	}
	fmt.Fprintf(w, "client     %.2f us CPU per %s\n", c.ClientPerMsg, unit)
	others := "others"
	if !c.BrokerMeasured {
		others = what + " and others"
	}
	fmt.Fprintf(w, "machine    %d CPUs, %.0f %% busy, %.0f %% by %s\n",
		c.MachineCPUs, c.MachineBusy*100, c.MachineByOthers*100, others)
}

func bytesText(n int64) string {
	switch {
	case n >= 10<<20 || n <= -10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10 || n <= -10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
