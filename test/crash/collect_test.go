package crash

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	athenatypes "github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"spoor/internal/digest"
	"spoor/test/harness"
)

// poll is the pause between two looks at a query.
const poll = 20 * time.Millisecond

// collect ends the trail and reads every place that holds records.
func (w *world) collect() *evidence {
	w.t.Helper()
	w.setPolicy(w.admin(), harness.TrailPolicy(trail, w.srv.Account)) // a round may have left another
	e := &evidence{ledger: w.ledger, begun: w.begun.UTC().Add(2 * time.Second).Format(eventTime)}
	w.effects()
	e.stopped = time.Now().UTC().Format(eventTime)
	harness.EndTrail(w.t, w.srv, trail)
	w.read(e)
	return e
}

// read reads the places; the trail has ended.
func (w *world) read(e *evidence) {
	w.t.Helper()
	e.rows = w.countRows()
	e.delivered, e.files = w.bucket()
	w.announced(e)
	e.audits, e.lake = nil, w.lake("SELECT eventjson FROM "+w.store)
	for _, a := range w.query("SELECT eventdata.uid FROM " + w.audits) {
		e.audits = append(e.audits, a[0])
	}
	e.looked = w.history()
	e.named = w.history(cttypes.LookupAttribute{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: aws.String(lookedName)})
	e.athena = w.athena()
	w.restart("SPOOR_COLUMNAR=off")
	e.plain = w.athena()
	w.restart()
	w.tailUntil(e.delivered)
	e.tailed = w.tailed
}

// countRows reads every table, looks for the acknowledged rows, and returns how
// many rows each has, acknowledged or not.
func (w *world) countRows() map[string]int {
	t, ctx := w.t, w.t.Context()
	t.Helper()
	session, err := w.session(w.srv.Profiles["admin"])
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	counts := map[string]int{}
	for _, table := range tables() {
		found := map[int]bool{}
		it := session.Query("SELECT pk FROM crash." + table).PageSize(5000).IterContext(ctx)
		var pk int
		for it.Scan(&pk) {
			if found[pk] {
				w.fail("row %d of %s came twice", pk, table)
			}
			found[pk] = true
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		for _, pk := range w.ledger.rows[table] {
			if !found[pk] {
				w.fail("acknowledged row %d of %s is lost", pk, table)
			}
		}
		counts[table] = len(found)
	}
	return counts
}

// effects looks for what other acknowledged calls did.
func (w *world) effects() {
	ctx, led := w.t.Context(), w.ledger
	w.t.Helper()
	c := w.admin()
	for _, id := range led.queries {
		if _, err := c.Athena.GetNamedQuery(ctx, &athena.GetNamedQueryInput{NamedQueryId: &id}); err != nil {
			w.fail("acknowledged named query %s: %v", id, err)
		}
	}
	for _, name := range led.users {
		if _, err := c.IAM.GetUser(ctx, &iam.GetUserInput{UserName: &name}); err != nil {
			w.fail("acknowledged user %s: %v", name, err)
		}
	}
	for key, want := range led.objects {
		if led.unsure[key] {
			continue
		}
		got, err := w.object(ctx, key)
		if err != nil || got != want {
			w.fail("acknowledged object %s holds %q, want %q (%v)", key, got, want, err)
		}
	}
}

// object is an object's content, "" when there is none.
func (w *world) object(ctx context.Context, key string) (string, error) {
	out, err := w.admin().S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(dataBucket), Key: &key})
	if err != nil {
		if strings.Contains(err.Error(), "NoSuchKey") {
			return "", nil
		}
		return "", err
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	return string(body), err
}

// bucket reads the delivered log files.
func (w *world) bucket() (events []event, files []logFile) {
	t, ctx, c := w.t, w.t.Context(), w.admin()
	t.Helper()
	pages := s3.NewListObjectsV2Paginator(c.S3, &s3.ListObjectsV2Input{Bucket: aws.String(trail), Prefix: aws.String("AWSLogs/" + w.srv.Account + "/CloudTrail/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			f, list, err := readFile(ctx, c, *o.Key)
			if err != nil {
				t.Fatalf("%s: %v", *o.Key, err)
			}
			events, files = append(events, list...), append(files, f)
		}
	}
	return events, files
}

func readFile(ctx context.Context, c harness.Clients, key string) (logFile, []event, error) {
	f := logFile{key: key}
	out, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(trail), Key: &key})
	if err != nil {
		return f, nil, err
	}
	defer out.Body.Close()
	raw, err := io.ReadAll(out.Body)
	if err != nil {
		return f, nil, err
	}
	if f.first, err = strconv.ParseUint(out.Metadata[digest.MetaFirstSeq], 10, 64); err != nil {
		return f, nil, err
	}
	if f.last, err = strconv.ParseUint(out.Metadata[digest.MetaLastSeq], 10, 64); err != nil {
		return f, nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return f, nil, err
	}
	var file struct{ Records []json.RawMessage }
	if err := json.NewDecoder(z).Decode(&file); err != nil {
		return f, nil, err
	}
	f.records = len(file.Records)
	events := make([]event, 0, f.records)
	for _, r := range file.Records {
		e, err := parseEvent(r)
		if err != nil {
			return f, nil, err
		}
		events = append(events, e)
	}
	return f, events, nil
}

// query runs a statement over event data stores.
func (w *world) query(statement string) (rows [][]string) {
	t, ctx, c := w.t, w.t.Context(), w.admin().CloudTrail
	t.Helper()
	q, err := c.StartQuery(ctx, &cloudtrail.StartQueryInput{QueryStatement: &statement})
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for in := (&cloudtrail.GetQueryResultsInput{QueryId: q.QueryId, MaxQueryResults: aws.Int32(1000)}); ; {
		out, err := c.GetQueryResults(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		switch out.QueryStatus {
		case cttypes.QueryStatusQueued, cttypes.QueryStatusRunning:
			<-tick.C
			continue
		case cttypes.QueryStatusFinished:
		default:
			t.Fatalf("%s ends %s: %s", statement, out.QueryStatus, aws.ToString(out.ErrorMessage))
		}
		for _, r := range out.QueryResultRows {
			var cells []string
			for _, cell := range r {
				for _, v := range cell {
					cells = append(cells, v)
				}
			}
			rows = append(rows, cells)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return rows
		}
	}
}

func (w *world) lake(statement string) []event {
	w.t.Helper()
	var out []event
	for _, r := range w.query(statement) {
		e, err := parseEvent([]byte(r[0]))
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// lookedName is the event that is also looked up by its name.
const lookedName = "CreateNamedQuery"

// history reads event history, all or by an attribute, as it is paged.
func (w *world) history(by ...cttypes.LookupAttribute) []event {
	t := w.t
	t.Helper()
	var out []event
	pages := cloudtrail.NewLookupEventsPaginator(w.admin().CloudTrail, &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(50), LookupAttributes: by})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		for range 2 {
			if err == nil {
				break
			}
			// Under load the SDK's client at times closes a connection of which it
			// still reads the answer.
			t.Logf("a page of event history is asked for again: %v", err)
			page, err = pages.NextPage(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			e, err := parseEvent([]byte(*ev.CloudTrailEvent))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
		}
	}
	return out
}

// restart starts the server again, in order, with settings of the environment.
func (w *world) restart(env ...string) {
	w.t.Helper()
	w.srv.Env = env
	if err := errors.Join(w.srv.Stop(), w.srv.Start(context.Background())); err != nil {
		w.t.Fatal(err)
	}
}

// makeTable makes a table over the bucket, as the README does.
func (w *world) makeTable() {
	w.t.Helper()
	w.athenaQuery("CREATE EXTERNAL TABLE crash_trail (eventid string, eventname string) ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe' " +
		"STORED AS INPUTFORMAT 'com.amazon.emr.cloudtrail.CloudTrailInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat' " +
		"LOCATION 's3://" + trail + "/AWSLogs/" + w.srv.Account + "/CloudTrail/'")
}

// counting reads every log file, and has twins made of them.
const counting = "SELECT count(*), count(DISTINCT eventid) FROM crash_trail"

// athena counts over the table of the bucket.
func (w *world) athena() [2]int {
	t := w.t
	t.Helper()
	row := w.athenaQuery(counting)
	var out [2]int
	for i := range out {
		n, err := strconv.Atoi(*row[1].Data[i].VarCharValue)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = n
	}
	return out
}

func (w *world) athenaQuery(statement string) []athenatypes.Row {
	t, ctx, c := w.t, w.t.Context(), w.admin().Athena
	t.Helper()
	q, err := c.StartQueryExecution(ctx, &athena.StartQueryExecutionInput{QueryString: &statement,
		QueryExecutionContext: &athenatypes.QueryExecutionContext{Database: aws.String("default")},
		ResultConfiguration:   &athenatypes.ResultConfiguration{OutputLocation: aws.String("s3://" + dataBucket + "/results/")}})
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		st, err := c.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: q.QueryExecutionId})
		if err != nil {
			t.Fatal(err)
		}
		switch s := st.QueryExecution.Status; s.State {
		case athenatypes.QueryExecutionStateQueued, athenatypes.QueryExecutionStateRunning:
			<-tick.C
			continue
		case athenatypes.QueryExecutionStateSucceeded:
		default:
			t.Fatalf("%s: %s, %s", statement, s.State, aws.ToString(s.StateChangeReason))
		}
		out, err := c.GetQueryResults(ctx, &athena.GetQueryResultsInput{QueryExecutionId: q.QueryExecutionId})
		if err != nil {
			t.Fatal(err)
		}
		return out.ResultSet.Rows
	}
}

// tailCommand is `spoor tail`, going on where the one before it ended.
func (w *world) tailCommand() (*exec.Cmd, io.ReadCloser, error) {
	w.mu.Lock()
	after := uint64(0)
	if n := len(w.tailed); n > 0 {
		after = w.tailed[n-1].seq
	}
	w.mu.Unlock()
	cmd := exec.Command(w.srv.Binary, "tail", "--data", w.srv.Dir, "--json", "--after", strconv.FormatUint(after, 10))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, out, cmd.Start()
}

// tail watches until the server is gone.
func (w *world) tail() {
	cmd, out, err := w.tailCommand()
	if err != nil {
		w.fail("watching: %v", err)
		return
	}
	w.watch(out, func(string) bool { return true })
	_ = cmd.Wait() // it ends with the server, with an error or without
}

// watch reads lines until more is false or there are none.
func (w *world) watch(out io.Reader, more func(id string) bool) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Seq   uint64
			Event struct{ EventID string }
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			w.fail("the live stream has the line %q: %v", lines.Bytes(), err)
			return
		}
		w.mu.Lock()
		w.tailed = append(w.tailed, line{l.Seq, l.Event.EventID})
		w.mu.Unlock()
		if !more(l.Event.EventID) {
			return
		}
	}
}

// tailUntil watches until everything delivered has come.
func (w *world) tailUntil(delivered []event) {
	w.t.Helper()
	want := make(map[string]bool, len(delivered))
	for i := range delivered {
		want[delivered[i].EventID] = true
	}
	for _, l := range w.tailed {
		delete(want, l.id)
	}
	if len(want) == 0 {
		return
	}
	cmd, out, err := w.tailCommand()
	if err != nil {
		w.t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(os.Interrupt) }) // judge says what is missing then
	defer late.Stop()
	w.watch(out, func(id string) bool { delete(want, id); return len(want) > 0 })
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}

// verify asks the product's own oracle and AWS's.
func (w *world) verify() {
	t := w.t
	t.Helper()
	arn := fmt.Sprintf("arn:aws:cloudtrail:%s:%s:trail/%s", w.srv.Region, w.srv.Account, trail)
	if out, code, err := w.srv.Spoor(t.Context(), "verify", "--trail-arn", arn, "--bucket", trail, "--tiles", filepath.Join(w.srv.Dir, "checkpoints")); err != nil || code != 0 {
		t.Errorf("verify finds fault with what was delivered: exit %d, %v\n%s", code, err, out)
	}
	w.validateLogs(arn)
	if err := w.srv.Stop(); err != nil {
		t.Fatal(err)
	}
	if w.proxy != nil {
		// The other storage is of the same make: its files are where verify looks
		// for those of the embedded one.
		if err := os.Symlink(w.srv.Dir+"-objects", filepath.Join(w.srv.Dir, "objects")); err != nil {
			t.Fatal(err)
		}
	}
	out, code, err := w.srv.Spoor(t.Context(), "verify", "--trail-arn", arn, "--data", w.srv.Dir, "--tiles", filepath.Join(w.srv.Dir, "checkpoints"))
	if err != nil || code != 0 {
		t.Errorf("verify --data finds fault: exit %d, %v\n%s", code, err, out)
	}
	w.readTiles()
	t.Logf("verify --data: %s", last(strings.TrimSpace(out), 400))
}

func (w *world) validateLogs(arn string) {
	t := w.t
	t.Helper()
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Log("aws cloudtrail validate-logs was not asked: there is no AWS CLI")
		return
	}
	cmd := exec.CommandContext(t.Context(), cli, "cloudtrail", "validate-logs", "--trail-arn", arn, "--start-time", w.begun.Add(-time.Minute).UTC().Format(time.RFC3339))
	cmd.Env = append(os.Environ(), w.srv.Environ(w.srv.Profiles["admin"])...)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "INVALID") {
		t.Errorf("validate-logs: %v\n%s", err, last(string(out), 2000))
		return
	}
	t.Logf("validate-logs: %s", last(strings.TrimSpace(string(out)), 200))
}
