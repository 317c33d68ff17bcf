package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	gocql "github.com/apache/cassandra-gocql-driver/v2"

	"spoor/test/harness"
)

const (
	trail      = "crash-trail" // and its bucket
	dataBucket = "crash-data"
	eventTime  = "2006-01-02T15:04:05Z" // of records
	// patience is how long a round waits for its point.
	patience = 30 * time.Second
	// manyRounds are worth some that take long: a flood, and one that waits for an
	// upload's own timeout.
	manyRounds = 40
)

// world is a server with its storage, its clients' ledger and what they know.
type world struct {
	t      *testing.T
	name   string
	srv    *harness.Server
	proxy  *proxy // nil over the embedded storage
	rng    *rand.Rand
	ledger *ledger
	tally  *tally

	nobody    harness.Profile // a user without permissions
	begun     time.Time
	policyOff bool   // a round left the bucket's policy denying CloudTrail
	store     string // ids of the event data stores
	audits    string
	channel   string

	mu       sync.Mutex
	problems []string
	tailed   []line
	notified map[string]int // deliveries that were announced, by key
}

// fail notes a problem that a goroutine found.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// newWorld starts a server in dir, over an S3 of its own behind a proxy if
// elsewhere, and makes what the clients need.
func newWorld(t *testing.T, binary, dir string, elsewhere bool, rng *rand.Rand, c *tally, extra ...string) *world {
	t.Helper()
	w := &world{t: t, name: filepath.Base(dir), rng: rng, ledger: newLedger(), tally: c}
	args := []string{"--delivery-interval", "1s", "--digest-interval", "10s", "--lake-file-interval", "1s", "--lake-file-events", "50",
		"--checkpoint-to", "file://" + dir + "/checkpoints", "--notifications", w.startReceiver(t, dir+"-notifications.json")}
	if elsewhere {
		key, secret := "spoor-crash", "spoor-crash-secret"
		w.proxy = startProxy(t, startStorage(t, binary, dir+"-objects", key, secret), rng)
		args = append(args, "--s3-endpoint", w.proxy.addr, "--s3-access-key-id", key, "--s3-secret-access-key", secret)
	}
	w.srv = harness.New(binary, dir, append(args, extra...)...)
	if err := w.srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.srv.Stop(); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	w.prepare(t)
	return w
}

// startStorage runs an S3 of its own, as a process that no round kills, and
// returns its socket.
func startStorage(t *testing.T, binary, dir, key, secret string) string {
	t.Helper()
	at, err := os.MkdirTemp("", "spoor-crash-s3-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(at, "s3.sock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	conf, err := json.Marshal(map[string]string{"root": dir, "sidecar": dir + ".meta", "versions": dir + ".versions", "socket": socket,
		"access": key, "secret": secret, "region": "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "gateway")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait(), os.RemoveAll(at)); err != nil {
			t.Errorf("stopping the storage: %v", err)
		}
	})
	if _, err := in.Write(append(conf, '\n')); err != nil {
		t.Fatal(err)
	}
	return socket
}

func must(t *testing.T) func(_ any, err error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) admin() harness.Clients { return w.srv.AWS(w.srv.Profiles["admin"]) }

func (w *world) prepare(t *testing.T) {
	t.Helper()
	ctx, c, ok := t.Context(), w.admin(), must(t)
	ok(c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(dataBucket)}))
	selectors := []cttypes.AdvancedEventSelector{harness.Management(), harness.Data("AWS::Cassandra::Table", ""),
		harness.Data("AWS::S3::Object", "arn:aws:s3:::"+dataBucket+"/"), harness.Data("AWS::CloudTrail::Channel", "")}
	store, err := c.CloudTrail.CreateEventDataStore(ctx, &cloudtrail.CreateEventDataStoreInput{Name: aws.String("everything"), AdvancedEventSelectors: selectors})
	ok(store, err)
	outside, err := c.CloudTrail.CreateEventDataStore(ctx, &cloudtrail.CreateEventDataStoreInput{Name: aws.String("outside"),
		AdvancedEventSelectors: []cttypes.AdvancedEventSelector{{FieldSelectors: []cttypes.AdvancedFieldSelector{{Field: aws.String("eventCategory"), Equals: []string{"ActivityAuditLog"}}}}}})
	ok(outside, err)
	channel, err := c.CloudTrail.CreateChannel(ctx, &cloudtrail.CreateChannelInput{Name: aws.String("app"), Source: aws.String("Custom"),
		Destinations: []cttypes.Destination{{Type: cttypes.DestinationTypeEventDataStore, Location: outside.EventDataStoreArn}}})
	ok(channel, err)
	w.store, w.audits, w.channel = idOf(*store.EventDataStoreArn), idOf(*outside.EventDataStoreArn), *channel.ChannelArn
	harness.StartTrailAs(t, w.srv, &cloudtrail.CreateTrailInput{Name: aws.String(trail), SnsTopicName: aws.String(topic)}, selectors...)
	w.begun = time.Now()

	session, err := w.session(w.srv.Profiles["admin"])
	ok(session, err)
	defer session.Close()
	statements := []string{"CREATE KEYSPACE crash WITH REPLICATION = {'class': 'SingleRegionStrategy'}"}
	for _, table := range append(tables(), deniedTable) {
		statements = append(statements, "CREATE TABLE crash."+table+" (pk int PRIMARY KEY, v text)")
	}
	for _, s := range statements {
		if err := session.Query(s).ExecContext(ctx); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	user := aws.String("nobody")
	ok(c.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: user}))
	ok(c.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: user, PolicyName: aws.String("driver"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"cassandra:Select","Resource":"arn:aws:cassandra:*:*:/keyspace/system*"}}`)}))
	key, err := c.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	ok(key, err)
	password, err := c.IAM.CreateServiceSpecificCredential(ctx, &iam.CreateServiceSpecificCredentialInput{UserName: user, ServiceName: aws.String("cassandra.amazonaws.com")})
	ok(password, err)
	w.nobody = harness.Profile{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey,
		CQLUser: *password.ServiceSpecificCredential.ServiceUserName, CQLPassword: *password.ServiceSpecificCredential.ServicePassword}
	w.makeTable()
}

func idOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// tables are those that clients write to.
func tables() []string {
	out := []string{casTable, batchTable, floodTable}
	for n := range inserters {
		out = append(out, insertTable+strconv.Itoa(n))
	}
	return out
}

func (w *world) session(p harness.Profile) (*gocql.Session, error) {
	conf, err := w.srv.Cluster(p)
	if err != nil {
		return nil, err
	}
	return conf.CreateSession()
}

// deniedSession is nil when the server is gone.
func (w *world) deniedSession() *gocql.Session {
	s, err := w.session(w.nobody)
	if err != nil {
		return nil
	}
	return s
}

// rounds runs the kills, one start of the server each.
func (w *world) rounds(kills []kill) {
	w.t.Helper()
	if err := w.srv.Stop(); err != nil {
		w.t.Fatal(err)
	}
	for n, k := range kills {
		begun := time.Now()
		f := healthy
		if w.proxy != nil {
			f = faults[n%len(faults)]
			if len(kills) >= manyRounds/2 && n == len(kills)/2 {
				k, f = kill{phase: randomTime, after: longHold + 5*time.Second}, hangLong
			}
		}
		hit, err := w.round(n, k, f)
		if err != nil {
			w.t.Fatalf("round %d (%s, %s): %v", n, k, f, err)
		}
		if hit {
			w.tally.points[k.String()]++
			w.tally.phases[k.phase]++
		} else {
			w.tally.missed = append(w.tally.missed, k.String())
			w.tally.phases[randomTime]++
		}
		if w.proxy != nil {
			w.tally.faults["under fault: "+string(f)]++
		}
		w.t.Logf("%s, round %d: %s (reached: %v), %s, %.1fs", w.name, n, k, hit, f, time.Since(begun).Seconds())
	}
	w.srv.Env = nil
	if w.proxy != nil {
		w.proxy.set(healthy, "", nil)
		for f, n := range w.proxy.counts {
			w.tally.faults["requests hit: "+string(f)] += n
		}
	}
	if err := w.srv.Start(w.t.Context()); err != nil {
		w.t.Fatalf("the start after the last round: %v", err)
	}
}

// round starts the server, loads it and kills it. hit is false when its point
// was not reached.
func (w *world) round(n int, k kill, f fault) (hit bool, err error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	w.srv.Env = nil
	if w.proxy != nil {
		w.proxy.set(f, "", nil)
	}
	if k.point != "" && !k.proxy {
		w.srv.Env = []string{fmt.Sprintf("SPOOR_CRASH_AT=%s:%d", k.point, k.nth)}
	}
	if k.phase == starting {
		if err := w.srv.Launch(); err != nil {
			return false, err
		}
		<-time.After(k.after)
		return true, w.srv.Kill()
	}
	before := len(w.srv.Log())
	said := func() bool { return strings.Contains(w.srv.Log()[before:], "crash point "+k.point+"\n") }
	if err := w.srv.Start(w.t.Context()); err != nil {
		// What was left to do is done at the start: a point may come before the
		// server is ready.
		if w.srv.Env != nil && said() {
			return true, nil
		}
		return false, err
	}
	if k.proxy {
		pid := w.srv.PID()
		w.proxy.set(f, k.point, func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // the round waits for the end
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(w.tail)
	c := w.admin()
	switch {
	case f == policyDenies:
		w.policyOff = true
		w.setPolicy(c, denyAll(trail))
	case w.policyOff && w.setPolicy(c, harness.TrailPolicy(trail, w.srv.Account)):
		w.policyOff = false
	}
	clients, err := w.start(ctx, n, k.flood)
	if err == nil {
		defer clients.wg.Wait()
	}
	defer cancel()
	wait, stop := context.WithTimeout(ctx, patience)
	if k.point == "" {
		stop()
		wait, stop = context.WithTimeout(ctx, k.after)
	}
	defer stop()
	if f == policyDenies {
		// The rest of the round, or a later one, delivers what was held up.
		back := time.AfterFunc(spell, func() { w.setPolicy(c, harness.TrailPolicy(trail, w.srv.Account)) })
		defer back.Stop()
	}
	if w.srv.Ended(wait) {
		hit = k.proxy && w.proxy.struck() || !k.proxy && said()
		if !hit {
			return false, fmt.Errorf("the server ended by itself\n%s", last(w.srv.Log(), 3000))
		}
		return true, nil
	}
	if err != nil {
		return false, errors.Join(err, w.srv.Kill())
	}
	return k.point == "", w.srv.Kill()
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }
