package tamper

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/trail"
	"spoor/internal/verify"
	"spoor/test/harness"
)

// TestRotateKeys rotates both keys of a running server by the command, and has
// the trail's digests before and after verified with either checkpoint key, by
// the server's own state and by AWS's validator.
func TestRotateKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	t.Parallel()
	srv := harness.Start(t, "--delivery-interval", "1s")
	c := srv.AWS(srv.Profiles["admin"])
	harness.StartTrail(t, srv, "turned", false, harness.Management())
	arn := trail.ARN(srv.Account, srv.Region, "turned")
	files := map[string]string{}
	keep := func(name string) {
		t.Helper()
		res, err := http.Get(srv.HTTP + "/_spoor/checkpoint-key")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		files[name] = filepath.Join(t.TempDir(), name)
		if err != nil || res.Body.Close() != nil || os.WriteFile(files[name], raw, 0o600) != nil {
			t.Fatal(err)
		}
	}
	keep("old")
	harness.StopTrail(t, srv, "turned") // with a digest by the old keys
	spoor := func(want int, args ...string) string {
		t.Helper()
		out, code, err := srv.Spoor(t.Context(), args...)
		if err != nil || code != want {
			t.Fatalf("spoor %s: exit code %d, want %d (%v)\n%s", strings.Join(args, " "), code, want, err, out)
		}
		return out
	}
	shown := spoor(0, "key", "rotate-checkpoint", "--data", srv.Dir)
	spoor(0, "key", "rotate-digest", "--data", srv.Dir)
	keep("new")
	raw := [2]string{}
	for i, name := range []string{"old", "new"} {
		b, err := os.ReadFile(files[name])
		if err != nil {
			t.Fatal(err)
		}
		raw[i] = string(b)
	}
	if raw[1] != shown || raw[0] == raw[1] {
		t.Errorf("the keys are %q and %q, the command printed %q", raw[0], raw[1], shown)
	}
	if _, err := c.CloudTrail.StartLogging(t.Context(), &cloudtrail.StartLoggingInput{Name: aws.String("turned")}); err != nil {
		t.Fatal(err)
	}
	// A digest of after the rotation's second.
	<-time.After(2 * time.Second)
	harness.StopTrail(t, srv, "turned")
	keys, err := c.CloudTrail.ListPublicKeys(t.Context(), &cloudtrail.ListPublicKeysInput{StartTime: aws.Time(time.Unix(0, 0))})
	if err != nil || len(keys.PublicKeyList) != 2 {
		t.Fatalf("%d digest keys (%v), want 2", len(keys.PublicKeyList), err)
	}
	for _, name := range []string{"old", "new"} {
		var r verify.Report
		out := spoor(verify.ExitClean, "verify", "--trail-arn", arn, "--bucket", "turned", "--checkpoint-key", files[name], "--output", "json")
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Regions[0].Digests != 2 || r.Regions[0].CheckpointKey+"\n" != raw[1] {
			t.Errorf("with the %s key: %v\n%s", name, err, out)
		}
	}
	for _, op := range []string{"RotateCheckpointKey", "RotateDigestKey"} {
		out, err := c.CloudTrail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{LookupAttributes: []cttypes.LookupAttribute{
			{AttributeKey: cttypes.LookupAttributeKeyEventName, AttributeValue: &op}}})
		if err != nil || len(out.Events) != 1 {
			t.Errorf("%d records of %s (%v)", len(out.Events), op, err)
		}
	}
	if _, err := exec.LookPath("aws"); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "aws", "cloudtrail", "validate-logs", "--trail-arn", arn, "--start-time", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
		cmd.Env = append(os.Environ(), srv.Environ(srv.Profiles["admin"])...)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "2/2 digest files valid") {
			t.Errorf("validate-logs: %v\n%s", err, out)
		}
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	spoor(verify.ExitClean, "verify", "--trail-arn", arn, "--data", srv.Dir)
}
