package tamper

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"spoor/internal/trail"
	"spoor/internal/tree"
	"spoor/internal/verify"
	"spoor/test/harness"
)

// TestCommand runs `spoor verify` as a cron job does and as a stranger does:
// against the running server, on its stopped data directory, with a kept
// checkpoint, and with a proof and the public key alone.
func TestCommand(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for digests")
	}
	t.Parallel()
	kept := t.TempDir()
	srv := harness.Start(t, "--delivery-interval", "1s", "--digest-interval", "10s", "--checkpoint-to", "file://"+kept)
	harness.StartTrail(t, srv, "proven", false, harness.Management())
	arn := trail.ARN(srv.Account, srv.Region, "proven")
	checkpoint := filepath.Join(kept, "spoor", srv.Account, srv.Region, "proven", srv.Region, "checkpoint")
	key := filepath.Join(kept, "spoor.pub")
	res, err := http.Get(srv.HTTP + "/_spoor/checkpoint-key")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.Body.Close() != nil || os.WriteFile(key, raw, 0o600) != nil {
		t.Fatal(err)
	}
	delivered := harness.StopTrail(t, srv, "proven") // with a final digest
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(checkpoint); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no checkpoint at %s\n%s", checkpoint, srv.Log())
		}
	}
	spoor := func(want int, args ...string) string {
		t.Helper()
		out, code, err := srv.Spoor(t.Context(), append([]string{"verify"}, args...)...)
		if err != nil || code != want {
			t.Fatalf("spoor verify %s: exit code %d, want %d (%v)\n%s", strings.Join(args, " "), code, want, err, out)
		}
		return out
	}
	spoor(verify.ExitClean, "--trail-arn", arn, "--bucket", "proven", "--checkpoint", checkpoint, "--checkpoint-key", key)
	// The place outside, read as a directory and as a web server of files.
	web := httptest.NewServer(http.FileServer(http.Dir(kept)))
	defer web.Close()
	for _, place := range []string{kept, "file://" + kept, web.URL} {
		if out := spoor(verify.ExitClean, "--trail-arn", arn, "--bucket", "proven", "--tiles", place, "--checkpoint-key", key); !strings.Contains(out, fmt.Sprintf("%d in the tiles", len(delivered))) {
			t.Errorf("%s", out)
		}
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	spoor(verify.ExitClean, "--trail-arn", arn, "--data", srv.Dir, "--tiles", kept)
	spoor(verify.ExitUnknown, "--trail-arn", arn, "--data", srv.Dir, "--tiles", t.TempDir())
	var report verify.Report
	if err := json.Unmarshal([]byte(spoor(verify.ExitClean, "--trail-arn", arn, "--data", srv.Dir, "--output", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if !report.Clean || len(report.Regions) != 1 || report.Regions[0].TreeSize != uint64(len(delivered)) || report.Regions[0].CheckpointKey+"\n" != string(raw) {
		t.Errorf("%+v", report)
	}
	var one struct{ EventID string }
	if err := json.Unmarshal(delivered[len(delivered)/2], &one); err != nil {
		t.Fatal(err)
	}
	proof, record := filepath.Join(kept, "r.tlog-proof"), filepath.Join(kept, "r.json")
	text := spoor(verify.ExitClean, "--trail-arn", arn, "--data", srv.Dir, "--record", one.EventID, "--record-file", record)
	if err := os.WriteFile(proof, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stock(t, text, record, raw)
	stranger := []string{"--proof", proof, "--record-file", record, "--checkpoint-key", key}
	if out := spoor(verify.ExitClean, stranger...); !strings.Contains(out, "Valid") {
		t.Errorf("%s", out)
	}
	if err := os.WriteFile(record, []byte(`{"eventID":"forged"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := spoor(verify.ExitFindings, stranger...); !strings.Contains(out, "INVALID") {
		t.Errorf("%s", out)
	}
	spoor(verify.ExitUnknown, "--proof", proof, "--record-file", record)
	spoor(verify.ExitUnknown, "--trail-arn", arn)
	spoor(verify.ExitUnknown, "--trail-arn", arn, "--dir", kept, "--checkpoint", filepath.Join(kept, "r.json"))
	spoor(verify.ExitUnknown, "--trail-arn", arn, "--data", srv.Dir, "--record", "no-such-event")
}

// stock checks a proof that the command printed with nothing of this program but
// the key: tlog-proof is some lines, a signed note and RFC 6962's hashes.
func stock(t *testing.T, proof, recordFile string, key []byte) {
	t.Helper()
	record, err := os.ReadFile(recordFile)
	if err != nil {
		t.Fatal(err)
	}
	head, signed, ok := strings.Cut(proof, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != "c2sp.org/tlog-proof@v1" {
		t.Fatalf("%s", proof)
	}
	var index int64
	if _, err := fmt.Sscanf(lines[1], "index %d", &index); err != nil {
		t.Fatal(err)
	}
	var hashes tlog.RecordProof
	for _, l := range lines[2:] {
		raw, err := base64.StdEncoding.DecodeString(l)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, tlog.Hash(raw))
	}
	origin, _, _ := strings.Cut(signed, "\n")
	public, err := tree.ParseVerifierKey(string(key))
	if err != nil {
		t.Fatal(err)
	}
	named, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(named)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	c, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckRecord(hashes, c.N, c.Hash, index, tlog.RecordHash(record)); err != nil {
		t.Errorf("a stock client refuses the proof: %v", err)
	}
}
