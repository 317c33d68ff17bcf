package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stage is a part of the work and how to tell it from others in a profile: the
// first stage counts of which a frame of the stack has one of the names.
type stage struct {
	name   string
	frames []string
}

var stageList = []stage{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.deductSweepCredit"}},
	{"store: flushes and compactions", []string{"pebble/v2.(*DB).flush", "pebble/v2.(*DB).compact", "pebble/v2.(*DB).runCompaction", "pebble/v2.(*tableCacheShard)", "deletepacer"}},
	{"store: log", []string{"pebble/v2/record.(*LogWriter)"}},
	{"lake: Parquet", []string{"lake.(*Manager).RunCompaction", "internal/parquet", "lake.(*cutter)", "lake.(*sink)", "engine/duckdb", "duckdb-go", "runtime._ExternalCode"}},
	{"lake: reading the journal", []string{"lake.(*reader)", "lake.(*Manager)"}},
	{"history", []string{"history.(*Index)"}},
	{"trail: SHA-256", []string{"crypto/sha256", "internal/tree.", "tree.(*Hasher)"}},
	{"trail: gzip", []string{"compress/gzip", "compress/flate"}},
	{"trail: other", []string{"trail.(*follower)", "trail.(*Manager)", "trail.(*stream)", "objects.(*Store)", "net/http"}},
	{"journal: commit", []string{"journal.(*Journal).commit", "journal.(*Journal).finish", "journal.(*Journal).drain"}},
	{"record: encoding", []string{"record.(*Record).AppendEntry"}},
	{"call path: IAM", []string{"call.(*Path).authorize"}},
	{"call path: other", []string{"call.(*Path).Run"}},
	{"the load itself", []string{"main.(*load)", "main.(*inside)", "main."}},
	{"scheduler and other", []string{""}},
}

type share struct {
	name string
	time time.Duration
}

// stagesOf splits a CPU profile by stages.
func stagesOf(file string) ([]share, error) {
	cmd := exec.Command(filepath.Join(goRoot(), "bin", "go"), "tool", "pprof", "-traces", "-symbolize=none", file)
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("reading the CPU profile: %w", err)
	}
	sums := make([]time.Duration, len(stageList))
	var stack []string
	var took time.Duration
	flush := func() {
		for i, s := range stageList {
			if slices.ContainsFunc(stack, func(f string) bool {
				return slices.ContainsFunc(s.frames, func(name string) bool { return strings.Contains(f, name) })
			}) {
				sums[i] += took
				break
			}
		}
		stack, took = stack[:0], 0
	}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "----") {
			flush()
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasSuffix(fields[0], ":") {
			continue
		}
		if len(stack) == 0 && len(fields) > 1 {
			d, err := parseTime(fields[0])
			if err != nil {
				continue // the profile's heading
			}
			took, fields = d, fields[1:]
		}
		stack = append(stack, strings.Join(fields, " "))
	}
	flush()
	out := make([]share, len(sums))
	for i, s := range stageList {
		out[i] = share{s.name, sums[i]}
	}
	return out, lines.Err()
}

func goRoot() string {
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	return "/usr/local/go"
}

// parseTime reads a time as pprof writes it, "10ms" or "1.25mins".
func parseTime(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "mins"); ok {
		f, err := strconv.ParseFloat(n, 64)
		return time.Duration(f * float64(time.Minute)), err
	}
	return time.ParseDuration(s)
}

func printStages(list []share, total, gateway time.Duration, records int64) {
	per := func(d time.Duration) string {
		return fmt.Sprintf("%.1f", float64(d.Nanoseconds())/float64(records)/1000)
	}
	fmt.Printf("CPU time, user and system, of everything until the readers had all of %d records:\n\n| Stage | µs an event |\n|---|---|\n", records)
	sum := time.Duration(0)
	for _, s := range list {
		fmt.Printf("| %s | %s |\n", s.name, per(s.time))
		sum += s.time
	}
	fmt.Printf("| object gateway (a process of its own) | %s |\n| not in the profile | %s |\n| **all** | **%s** |\n\n", per(gateway), per(max(0, total-gateway-sum)), per(total))
}

// children are the processes that a process started.
func children(pid int) ([]int, error) {
	raw, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range raw {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that ended
		}
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// processTime is the CPU time of a process, from /proc.
func processTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// After the name, which ends in ")": utime and stime are the 12th and 13th
	// field, in ticks of 10 ms (proc(5)).
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is short", pid)
	}
	u, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	s, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(u+s) * 10 * time.Millisecond, err
}
