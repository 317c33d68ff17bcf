package main

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/record"
	"spoor/internal/server"
	"spoor/test/harness"
)

const userAgent = "aws-cli/2.32.6 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.13.7"

// load makes management calls of the admin user: three of four are Athena's
// StartQueryExecution, the others Keyspaces' CreateTable, with the records that
// those have.
type load struct {
	path    *call.Path
	caller  *aws.Caller
	region  string
	account string
	tls     *record.TLS
}

func newLoad(srv *server.Server, h *harness.Server) (*load, error) {
	caller, err := srv.Caller(h.Profiles["admin"].AccessKeyID)
	if err != nil {
		return nil, err
	}
	return &load{path: srv.Path(), caller: caller, region: h.Region, account: h.Account,
		tls: &record.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Host: "athena." + h.Region + ".amazonaws.com", KeyExchange: "X25519MLKEM768"}}, nil
}

// call makes calls until stop; while held it makes none.
func (l *load) call(ctx context.Context, worker int, recorded *atomic.Int64, held, stop *atomic.Bool) error {
	st := &step{l: l, n: worker * 1_000_003}
	for !stop.Load() {
		if held.Load() {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if _, err := l.one(ctx, st); err != nil {
			return err
		}
		recorded.Add(1)
	}
	return nil
}

// one makes a call and returns its event's id.
func (l *load) one(ctx context.Context, st *step) (string, error) {
	st.n++
	c := &call.Call{RequestID: call.NewID(), EventID: call.NewID(), Region: l.region, AccountID: l.account, Caller: l.caller, Start: time.Now(),
		SourceIP: "10.0.12.34", TLS: l.tls,
		UserAgent: userAgent}
	return c.EventID, l.path.Run(ctx, c, st)
}

// size is the bytes of a record's JSON, on average.
func (l *load) size() int {
	st := &step{l: l}
	n := 0
	for st.n = range 4 {
		r := record.Record{Caller: l.caller, EventTime: time.Now(), EventID: call.NewID(), RequestID: call.NewID(), Region: l.region, AccountID: l.account,
			SourceIP: "10.0.12.34", TLS: l.tls, UserAgent: userAgent}
		st.Describe(&call.Call{Region: l.region, AccountID: l.account}, 0, nil, &r)
		raw, _ := r.AppendEntry(nil, nil)
		if e, err := record.DecodeEntry(raw); err == nil {
			n += len(e.JSON)
		}
	}
	return n / 4
}

// step is one call of the load. It belongs to one goroutine.
type step struct {
	l        *load
	n        int
	response []byte
}

var _ call.Step = (*step)(nil)

func (s *step) table() bool { return s.n%4 == 3 }

func (s *step) Permissions(c *call.Call, dst []call.Permission) ([]call.Permission, error) {
	if s.table() {
		return append(dst, call.Permission{Action: "cassandra:Create", Resource: s.tableARN()}), nil
	}
	return append(dst, call.Permission{Action: "athena:StartQueryExecution", Resource: "arn:aws:athena:" + c.Region + ":" + c.AccountID + ":workgroup/analysts"}), nil
}

func (s *step) tableARN() string {
	return "arn:aws:cassandra:" + s.l.region + ":" + s.l.account + ":/keyspace/orders/table/events_" + strconv.Itoa(s.n%5000)
}

func (s *step) Handle(context.Context, *call.Call) error { return nil }
func (s *step) Events() int                              { return 1 }
func (s *step) Category(int) record.Category             { return record.Management }
func (s *step) External() bool                           { return false }

func (s *step) Describe(c *call.Call, _ int, _ error, r *record.Record) {
	if s.table() {
		r.EventSource, r.EventName = "cassandra.amazonaws.com", "CreateTable"
		b := append(r.RequestParameters[:0], `{"keyspaceName":"orders","tableName":"events_`...)
		b = strconv.AppendInt(b, int64(s.n%5000), 10)
		r.RequestParameters = append(b, `","schemaDefinition":{"allColumns":[{"name":"customer","type":"text"},{"name":"at","type":"timestamp"},{"name":"amount","type":"decimal"},{"name":"note","type":"text"}],"partitionKeys":[{"name":"customer"}],"clusteringKeys":[{"name":"at","orderBy":"DESC"}]},"capacitySpecification":{"throughputMode":"PAY_PER_REQUEST"},"pointInTimeRecovery":{"status":"ENABLED"}}`...)
		arn := s.tableARN()
		r.ResponseElements = append(append(append(s.response[:0], `{"resourceArn":"`...), arn...), `"}`...)
		s.response = r.ResponseElements
		r.Resources = append(r.Resources, record.Resource{Type: "AWS::Cassandra::Table", ARN: arn, AccountID: c.AccountID})
		return
	}
	r.EventSource, r.EventName, r.APIVersion = "athena.amazonaws.com", "StartQueryExecution", "2017-05-18"
	b := append(r.RequestParameters[:0], `{"queryString":"SELECT customer, sum(amount) AS total, count(*) AS orders FROM sales.orders WHERE day BETWEEN date '2026-10-01' AND date '2026-10-`...)
	b = strconv.AppendInt(b, int64(10+s.n%20), 10)
	b = append(b, `' AND region = 'r`...)
	b = strconv.AppendInt(b, int64(s.n%977), 10)
	b = append(b, `' GROUP BY customer ORDER BY total DESC LIMIT 100","clientRequestToken":"`...)
	b = append(b, call.NewID()...)
	r.RequestParameters = append(b, `","queryExecutionContext":{"database":"sales","catalog":"AwsDataCatalog"},"resultConfiguration":{"outputLocation":"s3://athena-results/analysts/"},"workGroup":"analysts"}`...)
	r.ResponseElements = append(append(append(s.response[:0], `{"queryExecutionId":"`...), call.NewID()...), `"}`...)
	s.response = r.ResponseElements
}
