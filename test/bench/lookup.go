package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	sdkaws "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/engine/pebble"
	"spoor/internal/history"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
	"spoor/test/harness"
)

// What the management events of benchLookup are of. Names are picked by Zipf's
// law, as a few identities and tables make most of the calls.
const (
	historyDays      = 89
	historyUsers     = 1000
	historyResources = 10_000
	historyCalls     = 200 // measured calls of one kind in each repeat
)

var historyOperations = []struct {
	source, name string
	readOnly     bool
}{
	{"athena.amazonaws.com", "GetQueryExecution", true},
	{"athena.amazonaws.com", "StartQueryExecution", false},
	{"athena.amazonaws.com", "GetQueryResults", true},
	{"cassandra.amazonaws.com", "Select", true},
	{"glue.amazonaws.com", "GetTable", true},
	{"sts.amazonaws.com", "AssumeRole", true},
	{"cassandra.amazonaws.com", "CreateTable", false},
	{"cloudtrail.amazonaws.com", "StopLogging", false}, // one of 10,000
}

// past makes the records of a server's first 89 days.
type past struct {
	account, region  string
	r                *rand.Rand
	users, resources *rand.Zipf
	ids              []string // a sample of the event ids
}

func newPast(account, region string) *past {
	r := rand.New(rand.NewPCG(4, 2))
	return &past{account: account, region: region, r: r,
		users: rand.NewZipf(r, 1.2, 8, historyUsers-1), resources: rand.NewZipf(r, 1.1, 8, historyResources-1)}
}

func userName(i uint64) string    { return "user" + strconv.FormatUint(i, 10) }
func accessKeyID(i uint64) string { return fmt.Sprintf("AKIAIOSFODNN7%07d", i) }

func (p *past) tableARN(i uint64) string {
	return fmt.Sprintf("arn:aws:cassandra:%s:%s:/keyspace/shop/table/orders%d", p.region, p.account, i)
}

func (p *past) entry(at time.Time) journal.Entry {
	op := historyOperations[p.r.IntN(len(historyOperations)-1)]
	if p.r.IntN(10_000) == 0 {
		op = historyOperations[len(historyOperations)-1]
	}
	who, what := p.users.Uint64(), p.tableARN(p.resources.Uint64())
	id := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", p.r.Uint32(), p.r.Uint32()&0xffff, p.r.Uint32()&0xfff, p.r.Uint32()&0xfff, p.r.Uint64()&0xffffffffffff)
	if len(p.ids) < historyCalls*4 || p.r.IntN(1000) == 0 {
		p.ids = append(p.ids, id)
	}
	rec := record.Record{
		Category: record.Management, ReadOnly: op.readOnly, EventTime: at, EventSource: op.source, EventName: op.name, EventID: id,
		RequestID: fmt.Sprintf("%016x", p.r.Uint64()), Region: p.region, AccountID: p.account, SourceIP: fmt.Sprintf("192.0.2.%d", p.r.IntN(256)),
		UserAgent: "aws-cli/2.15.0 md/awscrt#0.19.19 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.11.6",
		Caller: &aws.Caller{Type: aws.IAMUser, AccountID: p.account, PrincipalID: fmt.Sprintf("AIDACKCEVSQ6C2%06d", who),
			ARN: "arn:aws:iam::" + p.account + ":user/" + userName(who), UserName: userName(who), AccessKeyID: accessKeyID(who)},
		RequestParameters: fmt.Appendf(nil, `{"keyspaceName":"shop","tableName":"orders","queryString":"SELECT customer, count(*) FROM orders WHERE day = '%d' GROUP BY 1","workGroup":"primary"}`, p.r.Uint32()),
		Resources:         []record.Resource{{Type: "AWS::Cassandra::Table", ARN: what, AccountID: p.account}},
	}
	data, _ := rec.AppendEntry(nil, nil)
	return journal.Entry{Account: p.account, Region: p.region, Data: data}
}

// fillHistory writes n events of the last 89 days into the store of a server
// that is stopped, through the journal and the index, as it would itself.
func fillHistory(ctx context.Context, dir string, p *past, n int) (err error) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := kv.Open(filepath.Join(dir, "store"), kv.Options{CacheBytes: 64 << 20, Merger: pebble.Merger(), Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	j, err := journal.Open(store, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	x, err := history.Open(history.Config{Store: store, Journal: j, Log: log, Now: time.Now})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	defer func() { cancel(); err = errors.Join(err, <-ended) }()
	const group = 1000
	begin, step := time.Now().Add(-historyDays*24*time.Hour), historyDays*24*time.Hour/time.Duration(n)
	for i := 0; i < n; i += group {
		g := journal.Group{Entries: make([]journal.Entry, 0, group)}
		for k := i; k < min(i+group, n); k++ {
			g.Entries = append(g.Entries, p.entry(begin.Add(time.Duration(k)*step)))
		}
		if err := j.Append(g); err != nil {
			return err
		}
		// The index keeps up, so that its memory is that of a running server.
		if behind := uint64(100 * group); j.Head() > behind {
			if err := x.WaitFor(ctx, j.Head()-behind); err != nil {
				return err
			}
		}
	}
	if err := x.WaitFor(ctx, j.Head()); err != nil {
		return err
	}
	return compacted(ctx, store)
}

// compacted waits for the compactions that hours of writing within minutes leave
// behind: a server has 89 days for them.
func compacted(ctx context.Context, store *kv.Store) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; quiet < 5; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if quiet++; store.DB().Metrics().Compact.NumInProgress > 0 {
			quiet = 0
		}
	}
	return nil
}

// lookup is one kind of LookupEvents.
type lookup struct {
	name string
	by   cttypes.LookupAttributeKey // "" looks for all events
	// value is that of one call, found what it must find at least.
	value func(r *rand.Rand) string
	found int
	// days bounds the time looked at, in days before now; 0 does not.
	days int
	// pages is how many pages are read before the one that is measured.
	pages int
}

func lookups(p *past) []lookup {
	some := func(values ...string) func(*rand.Rand) string {
		return func(r *rand.Rand) string { return values[r.IntN(len(values))] }
	}
	return []lookup{
		{name: "all events", found: 50},
		{name: "all events, a day two months ago", found: 50, days: 60},
		{name: "all events, page 21", found: 50, pages: 20},
		{name: "EventId", by: cttypes.LookupAttributeKeyEventId, value: some(p.ids...), found: 1},
		{name: "EventId that is not there", by: cttypes.LookupAttributeKeyEventId, value: func(r *rand.Rand) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", r.Uint32()) }},
		{name: "EventName", by: cttypes.LookupAttributeKeyEventName, value: some("StartQueryExecution", "GetTable", "CreateTable"), found: 50},
		{name: "EventName of one event in 10,000", by: cttypes.LookupAttributeKeyEventName, value: some("StopLogging"), found: 1},
		{name: "ReadOnly", by: cttypes.LookupAttributeKeyReadOnly, value: some("true", "false"), found: 50},
		{name: "Username", by: cttypes.LookupAttributeKeyUsername, value: func(r *rand.Rand) string { return userName(r.Uint64N(historyUsers)) }, found: 1},
		{name: "ResourceType", by: cttypes.LookupAttributeKeyResourceType, value: some("AWS::Cassandra::Table"), found: 50},
		{name: "ResourceName", by: cttypes.LookupAttributeKeyResourceName, value: func(r *rand.Rand) string { return p.tableARN(r.Uint64N(historyResources / 10)) }, found: 1},
		{name: "EventSource", by: cttypes.LookupAttributeKeyEventSource, value: some("athena.amazonaws.com", "glue.amazonaws.com"), found: 50},
		{name: "AccessKeyId", by: cttypes.LookupAttributeKeyAccessKeyId, value: func(r *rand.Rand) string { return accessKeyID(r.Uint64N(historyUsers)) }, found: 1},
	}
}

func (l *lookup) input(r *rand.Rand) *cloudtrail.LookupEventsInput {
	in := &cloudtrail.LookupEventsInput{MaxResults: sdkaws.Int32(50)}
	if l.by != "" {
		in.LookupAttributes = []cttypes.LookupAttribute{{AttributeKey: l.by, AttributeValue: sdkaws.String(l.value(r))}}
	}
	if l.days > 0 {
		end := time.Now().Add(-time.Duration(l.days)*24*time.Hour - time.Duration(r.IntN(86400))*time.Second)
		in.StartTime, in.EndTime = sdkaws.Time(end.Add(-24*time.Hour)), &end
	}
	return in
}

// measure calls LookupEvents and returns what each call took, in order, and the
// processor time of the server for one.
func (l *lookup) measure(ctx context.Context, c *cloudtrail.Client, pid int, r *rand.Rand) (took []time.Duration, cpu time.Duration, err error) {
	measured := historyCalls * *repeats
	if l.pages > 0 {
		measured /= 10 // each reads many pages before
	}
	took = make([]time.Duration, 0, measured)
	before, err := processTime(pid)
	if err != nil {
		return nil, 0, err
	}
	calls := 0
	for range measured {
		in := l.input(r)
		for range l.pages {
			out, err := c.LookupEvents(ctx, in)
			if err != nil {
				return nil, 0, err
			}
			in.NextToken = out.NextToken
			calls++
		}
		began := time.Now()
		out, err := c.LookupEvents(ctx, in)
		if err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(began))
		calls++
		if len(out.Events) < l.found {
			return nil, 0, fmt.Errorf("found %d events, want %d", len(out.Events), l.found)
		}
	}
	slices.Sort(took)
	after, err := processTime(pid)
	return took, (after - before) / time.Duration(calls), err
}

// filled makes sure that a server's data directory has n events, and returns
// what is to be known of them. A file beside the directory, which is written
// when all of them are there, says what a directory of an earlier run has.
func filled(ctx context.Context, srv *harness.Server, n int) (*past, error) {
	sample := srv.Dir + ".ids"
	switch ids, err := os.ReadFile(sample); {
	case err == nil:
		if err := errors.Join(srv.Start(ctx), srv.Stop()); err != nil {
			return nil, err
		}
		p := newPast(srv.Account, srv.Region)
		p.ids = strings.Fields(string(ids))
		return p, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	if err := os.RemoveAll(srv.Dir); err != nil { // what a run left that was stopped
		return nil, err
	}
	if err := errors.Join(srv.Start(ctx), srv.Stop()); err != nil { // makes the directory and its keys
		return nil, err
	}
	p := newPast(srv.Account, srv.Region)
	if err := fillHistory(ctx, srv.Dir, p, n); err != nil {
		return nil, fmt.Errorf("filling event history: %w", err)
	}
	return p, os.WriteFile(sample, []byte(strings.Join(p.ids, "\n")), 0o600)
}

// benchLookup measures LookupEvents over event histories of given sizes.
func benchLookup(ctx context.Context, dir string, sizes []int) error {
	fmt.Print("LookupEvents over HTTP, signed and recorded, one connection, pages of 50 events (p50, p99, processor time of the server):\n\n")
	type column struct {
		ready time.Duration
		cells []string
	}
	columns := make([]column, len(sizes))
	var names []string
	for i, n := range sizes {
		var args []string
		if *profiles != "" {
			args = []string{"--debug", "127.0.0.1:0"}
		}
		srv := harness.New(*binaryPath, filepath.Join(dir, "lookup-"+strconv.Itoa(n)), args...)
		p, err := filled(ctx, srv, n)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := srv.Start(ctx); err != nil {
			return err
		}
		columns[i].ready = time.Since(began)
		names = names[:0]
		// Under load the SDK at times closes a request's body before the transport
		// has seen its end, and the transport then drops the connection; with its
		// retries, as everybody has them, nobody notices.
		c := cloudtrail.NewFromConfig(srv.AWS(srv.Profiles["admin"]).Config, func(o *cloudtrail.Options) { o.RetryMaxAttempts = 3 })
		r := rand.New(rand.NewPCG(1, 1))
		s := &side{srv: srv}
		for k, l := range lookups(p) {
			profiled := s.profile(fmt.Sprintf("lookup-%d-%02d", n, k))
			took, cpu, err := l.measure(ctx, c, srv.PID(), r)
			if err := firstOf(err, profiled()); err != nil {
				return errors.Join(fmt.Errorf("by %s: %w", l.name, err), srv.Stop())
			}
			names = append(names, l.name)
			columns[i].cells = append(columns[i].cells, fmt.Sprintf("%.2f ms, %.2f ms, %.2f ms", ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(cpu)))
		}
		if err := srv.Stop(); err != nil {
			return err
		}
	}
	head, rule := "| By |", "|---|"
	for _, n := range sizes {
		head += " " + strconv.Itoa(n) + " records |"
		rule += "---|"
	}
	fmt.Println(head + "\n" + rule)
	for k, name := range names {
		row := make([]string, len(columns))
		for i := range columns {
			row[i] = columns[i].cells[k]
		}
		fmt.Printf("| %s | %s |\n", name, strings.Join(row, " | "))
	}
	for i, n := range sizes {
		fmt.Printf("\nWith %d records in event history the server is ready in %s.", n, columns[i].ready.Round(time.Millisecond))
	}
	fmt.Print("\n\n")
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// numbers reads a list of numbers above 0, separated by commas.
func numbers(list string) ([]int, error) {
	var out []int
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is not a list of numbers, separated by commas", list)
		}
		out = append(out, n)
	}
	return out, nil
}
