package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	athenatypes "github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"spoor/test/harness"
)

const (
	keyspace    = "crash"
	deniedTable = "denied"
	insertTable = "plain" // with the worker's number
	casTable    = "cas"   // IF NOT EXISTS
	batchTable  = "batched"
	inserters   = 3
	// The flood makes more events a second than the columnar copy takes as rows.
	floodTable   = "flood"
	floodWorkers = 24
	// The pause between two calls of a worker: a run should have many kills, not
	// many records.
	cqlPause  = 10 * time.Millisecond
	httpPause = 20 * time.Millisecond
	// queryPause is between two queries over all log files so far.
	queryPause = 400 * time.Millisecond
)

// load is one round's clients.
type load struct {
	w     *world
	round int
	ctx   context.Context
	wg    sync.WaitGroup
	c     harness.Clients
}

// start runs the clients until the server is gone or ctx ends. A client writes
// a call down only after its answer came.
func (w *world) start(ctx context.Context, round int, flood bool) (*load, error) {
	l := &load{w: w, round: round, ctx: ctx, c: w.srv.AWS(w.srv.Profiles["admin"])}
	session, err := w.session(w.srv.Profiles["admin"])
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, session.Close)
	for n := range inserters {
		table := fmt.Sprint(insertTable, n)
		l.rows(table, 1, func(pk int) error {
			return session.Query("INSERT INTO crash."+table+" (pk, v) VALUES (?, ?)", pk, strings.Repeat("v", 100)).ExecContext(ctx)
		})
	}
	if flood {
		for n := range floodWorkers {
			l.rowsFrom(floodTable, (n+1)*100_000, 1, func(pk int) error {
				return session.Query("INSERT INTO crash."+floodTable+" (pk, v) VALUES (?, '')", pk).ExecContext(ctx)
			})
		}
	}
	l.rows(casTable, 1, func(pk int) error {
		applied, err := session.Query("INSERT INTO crash.cas (pk, v) VALUES (?, 'once') IF NOT EXISTS", pk).SerialConsistency(gocql.LocalSerial).MapScanCASContext(ctx, map[string]any{})
		if err == nil && !applied {
			w.fail("the row %d of crash.cas was there before it was written", pk)
		}
		return err
	})
	l.rows(batchTable, 3, func(pk int) error {
		b := session.Batch(gocql.UnloggedBatch)
		for i := range 3 {
			b.Query("INSERT INTO crash.batched (pk, v) VALUES (?, 'batch')", pk+i)
		}
		return b.ExecContext(ctx)
	})
	l.deniedStatements()
	l.loop(httpPause, l.management(0))
	l.loop(httpPause, l.management(1))
	l.loop(httpPause, l.objects(0))
	l.loop(httpPause, l.objects(1))
	l.loop(httpPause, l.audits())
	l.loop(queryPause, func(int) bool { return l.query(counting) })
	return l, nil
}

// loop calls step with growing numbers until it is false.
func (l *load) loop(pause time.Duration, step func(i int) bool) {
	l.wg.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; l.ctx.Err() == nil && step(i); i++ {
			select {
			case <-tick.C:
			case <-l.ctx.Done():
			}
		}
	})
}

// rows writes keys that no other round writes.
func (l *load) rows(table string, each int, write func(pk int) error) {
	l.rowsFrom(table, 0, each, write)
}

func (l *load) rowsFrom(table string, first, each int, write func(pk int) error) {
	l.loop(cqlPause, func(i int) bool {
		pk := l.round*10_000_000 + first + i*each
		if write(pk) != nil {
			return false
		}
		l.w.ledger.mu.Lock()
		defer l.w.ledger.mu.Unlock()
		for n := range each {
			l.w.ledger.rows[table] = append(l.w.ledger.rows[table], pk+n)
		}
		return true
	})
}

// deniedStatements are of a user who may log in and nothing else.
func (l *load) deniedStatements() {
	session := l.w.deniedSession()
	if session == nil {
		return // the server is gone already
	}
	context.AfterFunc(l.ctx, session.Close)
	led := l.w.ledger
	l.loop(5*cqlPause, func(i int) bool {
		led.mu.Lock()
		led.tried++
		led.mu.Unlock()
		err := session.Query("SELECT v FROM crash.denied WHERE pk = ?", i).ExecContext(l.ctx)
		if err == nil {
			l.w.fail("a user without permissions may read crash.denied")
			return false
		}
		var answer gocql.RequestError
		if !asRequestError(err, &answer) {
			return false
		}
		led.mu.Lock()
		led.denied++
		led.mu.Unlock()
		return true
	})
}

// management makes calls that change the store, that only read, that fail and
// that are denied.
func (l *load) management(n int) func(i int) bool {
	led, ctx, c := l.w.ledger, l.ctx, l.c
	nobody := l.w.srv.AWS(l.w.nobody)
	return func(i int) bool {
		name := fmt.Sprintf("m-%d-%d-%d", l.round, n, i)
		switch i % 6 {
		case 0:
			out, err := c.Athena.CreateNamedQuery(ctx, &athena.CreateNamedQueryInput{Name: &name, Database: aws.String("default"), QueryString: aws.String("SELECT 1")})
			return led.note("CreateNamedQuery", true, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err, func() { led.queries = append(led.queries, *out.NamedQueryId) })
		case 1:
			out, err := c.Athena.ListWorkGroups(ctx, &athena.ListWorkGroupsInput{})
			return led.note("ListWorkGroups", true, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err, nil)
		case 2:
			out, err := c.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name})
			if !led.note("CreateUser", true, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err, func() { led.users = append(led.users, name) }) {
				return false
			}
			put, err := c.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"),
				PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`)})
			return led.note("PutUserPolicy", true, meta(put, func() middleware.Metadata { return put.ResultMetadata }), err, nil)
		case 3:
			_, err := c.Athena.GetNamedQuery(ctx, &athena.GetNamedQueryInput{NamedQueryId: aws.String("11111111-2222-3333-4444-555555555555")})
			return led.note("GetNamedQuery of nothing", true, middleware.Metadata{}, err, nil)
		case 4:
			_, err := nobody.Athena.ListWorkGroups(ctx, &athena.ListWorkGroupsInput{})
			return led.note("denied ListWorkGroups", true, middleware.Metadata{}, err, nil)
		}
		return l.query("SELECT " + fmt.Sprint(i))
	}
}

// query starts a query and does not wait for it.
func (l *load) query(statement string) bool {
	out, err := l.c.Athena.StartQueryExecution(l.ctx, &athena.StartQueryExecutionInput{QueryString: &statement,
		QueryExecutionContext: &athenatypes.QueryExecutionContext{Database: aws.String("default")},
		ResultConfiguration:   &athenatypes.ResultConfiguration{OutputLocation: aws.String("s3://" + dataBucket + "/results/")}})
	return l.w.ledger.note("StartQueryExecution", true, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err, nil)
}

// meta is an answer's metadata; there is none without an answer.
func meta[T any](out *T, get func() middleware.Metadata) middleware.Metadata {
	if out == nil {
		return middleware.Metadata{}
	}
	return get()
}

// objects puts, copies, deletes and uploads in parts. A key has one owner.
func (l *load) objects(n int) func(i int) bool {
	led, ctx, c := l.w.ledger, l.ctx, l.c
	bucket := aws.String(dataBucket)
	// changed notes a call on a key. What a failed one left is not known: the
	// storage may have done it and then failed.
	changed := func(what, key, body string, m middleware.Metadata, err error) bool {
		led.mu.Lock()
		led.unsure[key] = err != nil
		led.mu.Unlock()
		return led.note(what, false, m, err, func() { led.objects[key] = body })
	}
	return func(i int) bool {
		key := fmt.Sprintf("load/%d/%d/%d", l.round, n, i)
		switch i % 4 {
		case 0, 1:
			out, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(key)})
			if !changed("PutObject", key, key, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err) {
				return false
			}
			if i%4 == 0 {
				return true
			}
			del, err := c.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key})
			return changed("DeleteObject", key, "", meta(del, func() middleware.Metadata { return del.ResultMetadata }), err)
		case 2:
			source := fmt.Sprintf("load/%d/%d/%d", l.round, n, i-2)
			out, err := c.S3.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: &key, CopySource: aws.String(dataBucket + "/" + source)})
			return changed("CopyObject", key, source, meta(out, func() middleware.Metadata { return out.ResultMetadata }), err)
		}
		begun, err := c.S3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
		if !led.note("CreateMultipartUpload", false, meta(begun, func() middleware.Metadata { return begun.ResultMetadata }), err, nil) || err != nil {
			return err == nil || begun == nil && ctx.Err() == nil && answered(err)
		}
		part, err := c.S3.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: &key, UploadId: begun.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(key)})
		if !led.note("UploadPart", false, meta(part, func() middleware.Metadata { return part.ResultMetadata }), err, nil) || err != nil {
			return answered(err)
		}
		done, err := c.S3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: begun.UploadId,
			MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}}})
		return changed("CompleteMultipartUpload", key, key, meta(done, func() middleware.Metadata { return done.ResultMetadata }), err)
	}
}

// audits puts events of an outside source on the channel.
func (l *load) audits() func(i int) bool {
	led := l.w.ledger
	return func(i int) bool {
		var events []map[string]any
		var ids []string
		for n := range 2 {
			id := fmt.Sprintf("audit-%d-%d-%d", l.round, i, n)
			ids = append(ids, id)
			data, err := json.Marshal(map[string]any{"version": "1.0", "UID": id, "userIdentity": map[string]any{"type": "User", "principalId": "someone"},
				"eventSource": "app.example", "eventName": "Login", "eventTime": time.Now().UTC().Format(time.RFC3339), "recipientAccountId": l.w.srv.Account})
			if err != nil {
				l.w.fail("%v", err)
				return false
			}
			events = append(events, map[string]any{"id": id, "eventData": string(data)})
		}
		led.mu.Lock()
		for _, id := range ids {
			led.audits[id] = false
		}
		led.mu.Unlock()
		request, done, err := l.w.putAudit(l.ctx, events)
		if err != nil {
			return false
		}
		led.mu.Lock()
		defer led.mu.Unlock()
		led.calls[request] = acknowledged{name: "PutAuditEvents"}
		for _, id := range done {
			led.audits[id] = true
		}
		return true
	}
}

// putAudit calls PutAuditEvents, whose SDK this module does not need otherwise.
// It returns the request's id and the events that were taken.
func (w *world) putAudit(ctx context.Context, events []map[string]any) (request string, taken []string, err error) {
	body, err := json.Marshal(map[string]any{"auditEvents": events})
	if err != nil {
		return "", nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.srv.HTTP+"/PutAuditEvents?channelArn="+url.QueryEscape(w.channel), bytes.NewReader(body))
	if err != nil {
		return "", nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	sum := sha256.Sum256(body)
	p := w.srv.Profiles["admin"]
	if err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey}, req, hex.EncodeToString(sum[:]), "cloudtrail-data", w.srv.Region, time.Now()); err != nil {
		return "", nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return "", nil, err
	}
	var out struct{ Successful, Failed []struct{ ID string } }
	if res.StatusCode != http.StatusOK || json.Unmarshal(raw, &out) != nil || len(out.Failed) > 0 {
		w.fail("PutAuditEvents answered %s: %s", res.Status, raw)
		return "", nil, fmt.Errorf("%s", res.Status)
	}
	for _, s := range out.Successful {
		taken = append(taken, s.ID)
	}
	return res.Header.Get("X-Amzn-Requestid"), taken, nil
}
