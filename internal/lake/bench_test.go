package lake

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/record"
)

// busyEntries are n journal entries as a busy server's clients make them: of
// two calls, with what differs from call to call, at 40,000 a second.
func busyEntries(n int) [][]byte {
	caller := &aws.Caller{Type: aws.AssumedRole, AccountID: "123456789012", PrincipalID: "AROAABCDEFGHIJKLMNOPQ:analyst", ARN: "arn:aws:sts::123456789012:assumed-role/analysts/analyst", AccessKeyID: "ASIAABCDEFGHIJKLMNOP",
		Session: &aws.Session{CreationDate: time.Date(2026, 1, 1, 1, 2, 3, 0, time.UTC), IssuerType: "Role", IssuerPrincipalID: "AROAABCDEFGHIJKLMNOPQ", IssuerARN: "arn:aws:iam::123456789012:role/analysts", IssuerAccountID: "123456789012", IssuerUserName: "analysts"}}
	tls := &record.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Host: "athena.us-east-1.amazonaws.com", KeyExchange: "X25519MLKEM768"}
	out := make([][]byte, n)
	for i := range out {
		r := record.Record{Caller: caller, EventTime: time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC).Add(time.Duration(i) * 25 * time.Microsecond), EventID: call.NewID(), RequestID: call.NewID(), Region: "us-east-1",
			AccountID: "123456789012", SourceIP: "10.0.12.34", TLS: tls, UserAgent: "aws-cli/2.32.6 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.13.7"}
		if i%4 == 3 {
			arn := fmt.Sprintf("arn:aws:cassandra:us-east-1:123456789012:/keyspace/orders/table/events_%d", i%5000)
			r.EventSource, r.EventName = "cassandra.amazonaws.com", "CreateTable"
			r.RequestParameters = fmt.Appendf(nil, `{"keyspaceName":"orders","tableName":"events_%d","schemaDefinition":{"allColumns":[{"name":"customer","type":"text"},{"name":"at","type":"timestamp"},{"name":"amount","type":"decimal"}],"partitionKeys":[{"name":"customer"}],"clusteringKeys":[{"name":"at","orderBy":"DESC"}]},"capacitySpecification":{"throughputMode":"PAY_PER_REQUEST"}}`, i%5000)
			r.ResponseElements = fmt.Appendf(nil, `{"resourceArn":%q}`, arn)
			r.Resources = []record.Resource{{Type: "AWS::Cassandra::Table", ARN: arn, AccountID: "123456789012"}}
		} else {
			r.EventSource, r.EventName, r.APIVersion = "athena.amazonaws.com", "StartQueryExecution", "2017-05-18"
			r.RequestParameters = fmt.Appendf(nil, `{"queryString":"SELECT customer, sum(amount) AS total FROM sales.orders WHERE day = date '2026-10-%d' AND region = 'r%d' GROUP BY customer ORDER BY total DESC LIMIT 100","clientRequestToken":"%s","queryExecutionContext":{"database":"sales","catalog":"AwsDataCatalog"},"resultConfiguration":{"outputLocation":"s3://athena-results/analysts/"},"workGroup":"analysts"}`, 10+i%20, i%977, call.NewID())
			r.ResponseElements = fmt.Appendf(nil, `{"queryExecutionId":"%s"}`, call.NewID())
		}
		out[i], _ = r.AppendEntry(nil, nil)
	}
	return out
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perEvent reports the processor time of all threads since before.
func perEvent(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/1000, "cpu-us/event")
}

// BenchmarkStream reads b.N events from the journal into a store's files.
func BenchmarkStream(b *testing.B) {
	w := open(b, vfs.NewMem())
	defer w.close()
	w.call("Create", w.put(management()))
	r := w.streaming(200_000, 2000)
	w.m.stream.time = time.Minute
	r.busy = false
	if err := r.step(b.Context()); err != nil {
		b.Fatal(err)
	}
	fill(b, w, busyEntries(b.N))
	before := cpuTime(b)
	b.ResetTimer()
	r.busy = true
	if err := r.step(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	perEvent(b, before)
	size := int64(0)
	for _, f := range w.files() {
		info, err := os.Stat(f)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	b.ReportMetric(float64(size)/float64(b.N), "B/event")
}

// BenchmarkJournal is BenchmarkStream's reading alone.
func BenchmarkJournal(b *testing.B) {
	w := open(b, vfs.NewMem())
	defer w.close()
	fill(b, w, busyEntries(b.N))
	before := cpuTime(b)
	b.ResetTimer()
	if err := w.jr.Read(0, w.jr.Head(), func(journal.Item) (bool, error) { return true, nil }); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	perEvent(b, before)
}

func fill(b *testing.B, w *world, entries [][]byte) {
	for len(entries) > 0 {
		n := min(len(entries), 512)
		var g journal.Group
		for _, e := range entries[:n] {
			g.Entries = append(g.Entries, journal.Entry{Account: "123456789012", Region: "us-east-1", Data: e})
		}
		if err := w.jr.Append(g); err != nil {
			b.Fatal(err)
		}
		entries = entries[n:]
	}
}

// BenchmarkCut writes events into columns and leaves the file away.
func BenchmarkCut(b *testing.B) {
	entries := busyEntries(20_000)
	events, size := make([][]byte, len(entries)), 0
	for i, e := range entries {
		d, err := record.DecodeEntry(e)
		if err != nil {
			b.Fatal(err)
		}
		events[i] = d.JSON
		size += len(d.JSON)
	}
	c := newCutter(io.Discard, &Store{})
	before := cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		if ok, err := c.add(events[i%len(events)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
	b.StopTimer()
	perEvent(b, before)
	b.ReportMetric(float64(size)/float64(len(events)), "JSON-B/event")
}
