// Package notifications tests the notifications of trails through a server
// process and AWS's SDK: from the declaration to a receiver that checks the
// signature by nothing but the message and the server's CA.
package notifications

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"spoor/test/harness"
)

const (
	topicARN = "arn:aws:sns:us-east-1:123456789012:trail-topic"
	groupARN = "arn:aws:logs:us-east-1:123456789012:log-group:ct:*"
	roleARN  = "arn:aws:iam::123456789012:role/trail-logs"
)

// receiver is an HTTPS endpoint that checks what SNS posts to it.
type receiver struct {
	*httptest.Server
	t     *testing.T
	cas   []*harness.Server // whose certificates count
	posts chan map[string]string
	// hold, when it is set, keeps an answer back until it is closed.
	mu   sync.Mutex
	hold chan struct{}
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, posts: make(chan map[string]string, 1000)}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		var post map[string]string
		if err != nil || json.Unmarshal(raw, &post) != nil {
			t.Errorf("a post of %q, %v", raw, err)
			return
		}
		r.posts <- post
		r.mu.Lock()
		hold := r.hold
		r.mu.Unlock()
		if hold != nil {
			<-hold
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) caFile(dir string) string {
	name := filepath.Join(dir, "receiver.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// next waits for a post and checks its signature with the certificate that it
// names, which must be signed by the CA of the server that it names.
func (r *receiver) next() map[string]string {
	r.t.Helper()
	var post map[string]string
	select {
	case post = <-r.posts:
	case <-time.After(time.Minute):
		r.t.Fatal("no post came")
	}
	for _, srv := range r.cas {
		if !strings.HasPrefix(post["SigningCertURL"], "https://"+strings.TrimPrefix(srv.HTTP, "http://")+"/") {
			continue
		}
		if err := checkSignature(r.t.Context(), srv, post); err != nil {
			r.t.Errorf("%v: %v", post, err)
		}
		return post
	}
	r.t.Errorf("the certificate is at %s, which is no server of the test", post["SigningCertURL"])
	return post
}

// message is next of a log file; it passes over the validation message and
// returns the post and the object's key.
func (r *receiver) message(bucket string) (map[string]string, string) {
	r.t.Helper()
	for {
		post := r.next()
		if post["Message"] == "CloudTrail validation message." {
			continue
		}
		var m struct {
			Bucket string   `json:"s3Bucket"`
			Keys   []string `json:"s3ObjectKey"`
		}
		if err := json.Unmarshal([]byte(post["Message"]), &m); err != nil || m.Bucket != bucket || len(m.Keys) != 1 {
			r.t.Fatalf("message %q, %v", post["Message"], err)
		}
		return post, m.Keys[0]
	}
}

func checkSignature(ctx context.Context, srv *harness.Server, post map[string]string) error {
	ca, err := os.ReadFile(srv.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, post["SigningCertURL"], nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	block, _ := pem.Decode(body)
	if block == nil {
		return fmt.Errorf("%s: %s %q", post["SigningCertURL"], res.Status, body)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return err
	}
	text := ""
	for _, name := range slices.Sorted(maps.Keys(post)) {
		if slices.Contains([]string{"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}, name) {
			text += name + "\n" + post[name] + "\n"
		}
	}
	sig, err := base64.StdEncoding.DecodeString(post["Signature"])
	if err != nil {
		return err
	}
	if post["SignatureVersion"] != "2" {
		return fmt.Errorf("signature version %q", post["SignatureVersion"])
	}
	return cert.CheckSignature(x509.SHA256WithRSA, []byte(text), sig)
}

// settings writes a file for --notifications.
func settings(t *testing.T, dir string, v map[string]any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "notifications.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func start(t *testing.T, file string) *harness.Server {
	t.Helper()
	return harness.Start(t, "--delivery-interval", "1s", "--notifications", file)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeTrail makes a bucket, the role and a trail with the given targets, and
// starts logging.
func makeTrail(t *testing.T, srv *harness.Server, name string, topic, group *string) {
	t.Helper()
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"])
	_, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	check(t, err)
	_, err = c.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: new(harness.TrailPolicy(name, srv.Account))})
	check(t, err)
	in := &cloudtrail.CreateTrailInput{Name: &name, S3BucketName: &name, SnsTopicName: topic}
	if group != nil {
		in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn = group, new(roleARN)
	}
	_, err = c.CloudTrail.CreateTrail(ctx, in)
	check(t, err)
	_, err = c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: &name})
	check(t, err)
}

const (
	trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	write = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],
"Resource":"arn:aws:logs:us-east-1:123456789012:log-group:ct:log-stream:123456789012_CloudTrail_us-east-1*"}]}`
)

// TestTopicAndLogGroup: the role is held against IAM, a log file's notification
// names an object that is there, and the log group has its records.
func TestTopicAndLogGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newReceiver(t)
	logs := filepath.Join(dir, "ct.jsonl")
	srv := start(t, settings(t, dir, map[string]any{
		"topics":    []any{map[string]any{"arn": topicARN, "endpoint": r.URL + "/hook", "ca": r.caFile(dir)}},
		"logGroups": []any{map[string]any{"arn": groupARN, "file": "ct.jsonl"}},
	}))
	r.cas = []*harness.Server{srv}
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"])
	name := "audit"
	code := func(err error) string {
		var e smithy.APIError
		if errors.As(err, &e) {
			return e.ErrorCode()
		}
		return fmt.Sprint(err)
	}
	_, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	check(t, err)
	_, err = c.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: new(harness.TrailPolicy(name, srv.Account))})
	check(t, err)
	in := &cloudtrail.CreateTrailInput{Name: &name, S3BucketName: &name, SnsTopicName: new("trail-topic"), EnableLogFileValidation: new(true),
		CloudWatchLogsLogGroupArn: new(groupARN), CloudWatchLogsRoleArn: new(roleARN)}
	if _, err := c.CloudTrail.CreateTrail(ctx, in); code(err) != "InvalidCloudWatchLogsRoleArnException" {
		t.Errorf("without the role: %v", err)
	}
	_, err = c.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: new("trail-logs"), AssumeRolePolicyDocument: new(strings.Replace(trust, "cloudtrail", "ec2", 1))})
	check(t, err)
	if _, err := c.CloudTrail.CreateTrail(ctx, in); code(err) != "InvalidCloudWatchLogsRoleArnException" {
		t.Errorf("with a role of EC2: %v", err)
	}
	_, err = c.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: new("trail-logs"), PolicyDocument: new(trust)})
	check(t, err)
	if _, err := c.CloudTrail.CreateTrail(ctx, in); code(err) != "InvalidCloudWatchLogsLogGroupArnException" {
		t.Errorf("with a role without permissions: %v", err)
	}
	_, err = c.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: new("trail-logs"), PolicyName: new("p"), PolicyDocument: new(write)})
	check(t, err)
	if out, err := c.CloudTrail.CreateTrail(ctx, in); err != nil || *out.SnsTopicARN != topicARN || *out.CloudWatchLogsRoleArn != roleARN {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err = c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if got := r.next()["Message"]; got != "CloudTrail validation message." {
		t.Errorf("first message %q", got)
	}
	post, key := r.message(name)
	if post["TopicArn"] != topicARN {
		t.Errorf("topic %q", post["TopicArn"])
	}
	if _, err := c.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &name, Key: &key}); err != nil {
		t.Errorf("%s: %v", key, err)
	}
	// The status is durable before it can be asked for; the acknowledgement is
	// noted just after the answer was sent.
	waitFor(t, func() bool {
		st, err := c.CloudTrail.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &name})
		return err == nil && st.LatestNotificationTime != nil && st.LatestNotificationError == nil && *st.LatestNotificationAttemptSucceeded != "" &&
			st.LatestCloudWatchLogsDeliveryTime != nil && st.LatestCloudWatchLogsDeliveryError == nil
	})
	records := harness.StopTrail(t, srv, name)
	waitFor(t, func() bool { return len(readLog(t, logs)) >= len(records) })
	// Files of one second have names in no order, so what they hold is compared
	// as a set.
	var want, got []string
	for _, r := range records {
		want = append(want, string(r))
	}
	for _, l := range readLog(t, logs) {
		got = append(got, l.Message)
		if l.LogGroup != "ct" || l.LogStream != "123456789012_CloudTrail_us-east-1" || l.Timestamp == 0 {
			t.Errorf("log event %+v", l)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(slices.Compact(got), want) {
		t.Errorf("the log group has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

type logLine struct {
	LogGroup, LogStream, Message string
	Timestamp                    int64
}

func readLog(t *testing.T, name string) []logLine {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []logLine
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l logLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			break // a line that is being written
		}
		out = append(out, l)
	}
	return out
}

// TestKilledBeforeAcknowledgement: a message that its receiver has not
// acknowledged when the server is killed is sent again by the next start, as
// the same message.
func TestKilledBeforeAcknowledgement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newReceiver(t)
	srv := start(t, settings(t, dir, map[string]any{"topics": []any{map[string]any{"arn": topicARN, "endpoint": r.URL, "ca": r.caFile(dir)}}}))
	r.cas = []*harness.Server{srv}
	makeTrail(t, srv, "audit", new(topicARN), nil)
	r.next() // the validation message
	first, _ := r.message("audit")
	hold := make(chan struct{})
	r.mu.Lock()
	r.hold = hold
	r.mu.Unlock()
	_, err := srv.AWS(srv.Profiles["admin"]).IAM.ListUsers(t.Context(), &iam.ListUsersInput{})
	check(t, err)
	post, key := r.message("audit")
	if post["MessageId"] == first["MessageId"] {
		post, key = r.message("audit") // the first's acknowledgement was not noted yet
	}
	check(t, srv.Kill())
	r.mu.Lock()
	r.hold = nil
	r.mu.Unlock()
	close(hold)
	check(t, srv.Start(t.Context()))
	for {
		// The address is another one after a start, and so is the certificate's.
		again, sameKey := r.message("audit")
		if again["MessageId"] == post["MessageId"] {
			if sameKey != key || again["Timestamp"] != post["Timestamp"] {
				t.Errorf("sent again as %v, first %v", again, post)
			}
			return
		}
	}
}

// TestTwoServers: two servers that notify one endpoint sign each with a key of
// their own, and each other's certificates do not do.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	posts := map[*harness.Server]map[string]string{}
	for range 2 {
		dir := t.TempDir()
		srv := start(t, settings(t, dir, map[string]any{"topics": []any{map[string]any{"arn": topicARN, "endpoint": r.URL, "ca": r.caFile(dir)}}}))
		r.cas = append(r.cas, srv)
		makeTrail(t, srv, "audit", new(topicARN), nil)
		posts[srv] = r.next()
	}
	a, b := r.cas[0], r.cas[1]
	if posts[a]["SigningCertURL"] == posts[b]["SigningCertURL"] {
		t.Error("both have one certificate")
	}
	stolen := maps.Clone(posts[a])
	stolen["SigningCertURL"] = posts[b]["SigningCertURL"]
	if checkSignature(t.Context(), b, stolen) == nil {
		t.Error("one server's signature holds with the other's certificate")
	}
	changed := maps.Clone(posts[a])
	changed["Message"] += " "
	if checkSignature(t.Context(), a, changed) == nil {
		t.Error("the signature of a changed message holds")
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("timed out")
		}
	}
}
