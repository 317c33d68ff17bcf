package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/record"
)

const account = "123456789012"

// owner lets everybody be the account's owner, who may do all but delete
// objects: deletions end here, as there is no storage behind.
type owner struct{}

func (owner) AuthenticateS3(r *http.Request) (*Identity, error) {
	c := &aws.Caller{Type: aws.Root, AccountID: account, ARN: "arn:aws:iam::" + account + ":root", PrincipalID: account}
	return &Identity{Caller: c, Region: "us-east-1", Body: r.Body, Length: r.ContentLength, Method: "AuthHeader"}, nil
}

func (owner) Authorize(_ context.Context, _ *call.Call, perms []call.Permission) error {
	for _, p := range perms {
		if strings.HasPrefix(p.Action, "s3:DeleteObject") && strings.Contains(p.Resource, "/") {
			return aws.NewError(aws.Denied, "AccessDenied", "Access Denied")
		}
	}
	return nil
}
func (owner) Version() uint64             { return 1 }
func (owner) AnyData() bool               { return false }
func (owner) Selects(*record.Record) bool { return false }

// newTestFront is a front with one bucket and no storage.
func newTestFront(t testing.TB) *Front {
	t.Helper()
	store, err := kv.Open("store", kv.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(store, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(j.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	registry, err := OpenRegistry(store)
	if err != nil {
		t.Fatal(err)
	}
	registry.buckets["fuzzed"] = &Bucket{Name: "fuzzed", Account: account, Region: "us-east-1"}
	return New(Config{Path: &call.Path{Auth: owner{}, Selector: owner{}, Journal: j, Store: store, Now: time.Now, Log: log},
		Auth: owner{}, Registry: registry, Region: "us-east-1", Account: account, Log: log})
}

// documents are the requests that are answered here and carry a document.
var documents = []struct{ method, query string }{
	{http.MethodPut, "tagging"}, {http.MethodPut, "policy"}, {http.MethodPut, "ownershipControls"},
	{http.MethodPut, "publicAccessBlock"}, {http.MethodPost, "delete"},
}

// FuzzDocument sends any document as each kind: the answer is S3's, well
// formed, and never a fault of the server.
func FuzzDocument(f *testing.F) {
	f.Add(uint8(0), []byte(`<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>`))
	f.Add(uint8(1), []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::fuzzed/*"}}`))
	f.Add(uint8(2), []byte(`<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`))
	f.Add(uint8(3), []byte(`<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>`))
	f.Add(uint8(4), []byte(`<Delete><Quiet>true</Quiet><Object><Key>a</Key><VersionId>null</VersionId></Object></Delete>`))
	f.Add(uint8(4), []byte(`<!DOCTYPE d [<!ENTITY e "&e;">]><Delete><Object><Key>&e;&#0;</Key></Object></Delete>`))
	front := newTestFront(f)
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		d := documents[int(kind)%len(documents)]
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequest(d.method, "/fuzzed?"+d.query, bytes.NewReader(body)))
		if w.Code >= 500 {
			t.Fatalf("%s ?%s: %d %s", d.method, d.query, w.Code, w.Body)
		}
		wellFormed(t, w.Body)
	})
}

// TestLocationConstraint makes buckets in regions that there are not: such a
// region would become the records' of all calls on the bucket, and part of the
// names of their log files.
func TestLocationConstraint(t *testing.T) {
	t.Parallel()
	front := newTestFront(t)
	for _, region := range []string{"nowhere", "../../../x", "us-east-1/x", "us-east-1", " eu-west-1"} {
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/made-somewhere", strings.NewReader(
			"<CreateBucketConfiguration><LocationConstraint>"+region+"</LocationConstraint></CreateBucketConfiguration>")))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "<Code>InvalidLocationConstraint</Code>") {
			t.Errorf("%q: %d %s", region, w.Code, w.Body)
		}
		if front.Registry.Exists("made-somewhere") {
			t.Fatalf("%q: the bucket was made", region)
		}
	}
}

func wellFormed(t *testing.T, r io.Reader) {
	t.Helper()
	d := xml.NewDecoder(r)
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("the answer is not well formed: %v", err)
		}
	}
}

// TestHeldBody gives a body whole when it ends well, and short of its last
// byte when it does not, however its reader delivers it.
func TestHeldBody(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	text := strings.Repeat("0123456789", 7)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader,
		"by half": iotest.HalfReader, "end with data": iotest.DataErrReader,
	} {
		for _, size := range []int{1, 2, 7, len(text), 4096} {
			for n := range len(text) + 1 {
				got, err := readIn(&heldBody{r: wrap(strings.NewReader(text[:n]))}, size)
				if err != nil || got != text[:n] {
					t.Errorf("%s, %d bytes in pieces of %d: %q, %v", name, n, size, got, err)
				}
				failing := io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(bad))
				got, err = readIn(&heldBody{r: wrap(failing)}, size)
				if !errors.Is(err, bad) || n > 0 && len(got) >= n {
					t.Errorf("%s, %d failing bytes in pieces of %d: %q, %v", name, n, size, got, err)
				}
			}
		}
	}
}

func readIn(r io.Reader, size int) (string, error) {
	var out []byte
	for p := make([]byte, size); ; {
		n, err := r.Read(p)
		out = append(out, p[:n]...)
		if err == io.EOF {
			return string(out), nil
		}
		if err != nil {
			return string(out), err
		}
	}
}
