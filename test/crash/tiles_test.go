package crash

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// readTiles reads the place of checkpoints as a stock client of transparency
// logs does: each leaf, proven by the checkpoint.
func (w *world) readTiles() {
	t := w.t
	t.Helper()
	kept := filepath.Join(w.srv.Dir, "checkpoints")
	found, err := filepath.Glob(filepath.Join(kept, "spoor", "*", "*", "*", "*", "checkpoint"))
	if err != nil || len(found) == 0 {
		t.Errorf("no checkpoint is at the place: %v", err)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(kept)))
	defer web.Close()
	for _, name := range found {
		base := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(kept)), "/checkpoint")
		client, err := torchwood.NewTileFetcher(web.URL + base)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := client.ReadEndpoint(t.Context(), "checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(raw), "\n\n")
		c, err := torchwood.ParseCheckpoint(text + "\n")
		if err != nil {
			t.Fatalf("%s: %v", base, err)
		}
		indexes := make([]int64, c.N)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, int64(i))
		}
		if _, err := torchwood.TileHashReaderWithContext(t.Context(), c.Tree, client).ReadHashes(indexes); err != nil {
			t.Errorf("%s: the tiles do not make the tree of %d records: %v", base, c.N, err)
		}
		t.Logf("tiles of %s: %d records", base, c.N)
	}
}
