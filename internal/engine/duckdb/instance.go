package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	engine "github.com/duckdb/duckdb-go/v2"
)

// An instance that ran a query may run another one, as making it costs more
// than many a query over packs does. What keeps queries apart all the same:
//
//   - It is kept for one owner, one set of packs and one number of threads, so
//     neither what it may read nor who asks ever changes.
//   - It is kept only if it has nothing but packs, which never change: no files
//     of others, and no functions that give rows, which would stay in it.
//   - Each query has a connection of its own. Views, variables, the seed and the
//     transaction go with it. What a SELECT can change beside them is global
//     settings, in spite of their being locked (enable_logging is a function):
//     an instance whose settings are not as they were made is closed.
//   - One whose query failed or was cancelled is closed.

const (
	// maxIdle is how many instances wait for another query, and idleFor how long.
	maxIdle = 4
	idleFor = 2 * time.Minute
)

// instance is a database that is prepared and locked.
type instance struct {
	db    *sql.DB
	spill string
	// key says which queries may use it; one without runs a single query.
	key string
	// settings are the global ones, as they were made.
	settings string
	expiry   *time.Timer // while it is idle
}

// keyOf names the queries that may share an instance, "" where none may.
func keyOf(owner string, threads int, relations []Relation) string {
	var packs []string
	for i := range relations {
		for _, x := range relations[i].Stretches {
			if x.Pack == "" {
				return ""
			}
			packs = append(packs, quote(x.Pack))
		}
		if len(relations[i].Stretches) == 0 {
			return ""
		}
	}
	if owner == "" || len(packs) == 0 {
		return ""
	}
	slices.Sort(packs)
	return fmt.Sprintf("%d %s %s", threads, quote(owner), strings.Join(slices.Compact(packs), " "))
}

// take gives the instance of a query: one that waits for its like, or a new one.
func (e *Engine) take(ctx context.Context, key string, threads int, relations []Relation, files []string) (*instance, error) {
	if in := e.waiting(func(in *instance) bool { return key != "" && in.key == key }); in != nil {
		return in, nil
	}
	return e.create(ctx, key, threads, relations, files)
}

// waiting takes out the idle instance that is looked for, nil if there is none.
func (e *Engine) waiting(is func(*instance) bool) *instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.idle, is)
	if i < 0 {
		return nil
	}
	in := e.idle[i]
	e.idle = slices.Delete(e.idle, i, i+1)
	in.expiry.Stop()
	return in
}

// create makes an instance.
func (e *Engine) create(ctx context.Context, key string, threads int, relations []Relation, files []string) (_ *instance, err error) {
	// The engine names its spill files alike in every database.
	spill, err := os.MkdirTemp(e.cfg.TempDir, "query-")
	if err != nil {
		return nil, fmt.Errorf("creating the query's directory: %w", err)
	}
	in := &instance{key: key, spill: spill}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	connector, err := e.database()
	if err != nil {
		return nil, fmt.Errorf("opening the engine: %w", err)
	}
	defer e.provide()
	in.db = sql.OpenDB(connector)
	// A connection that is let go is closed, with all that is its own.
	in.db.SetMaxIdleConns(0)
	conn, err := in.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the engine: %w", err)
	}
	defer conn.Close()
	if err := e.prepare(ctx, conn, in, threads, relations, files); err != nil {
		return nil, err
	}
	if key != "" {
		in.settings, err = settingsOf(ctx, conn)
	}
	return in, err
}

// give takes an instance back after a query that ended well, to wait for the
// next one.
func (e *Engine) give(in *instance) error {
	e.mu.Lock()
	surplus := in // what is closed
	if !e.closed {
		surplus = nil
		e.idle = append(e.idle, in)
		in.expiry = time.AfterFunc(idleFor, func() { e.expire(in) })
		if len(e.idle) > maxIdle {
			surplus = e.idle[0]
			surplus.expiry.Stop()
			e.idle = slices.Delete(e.idle, 0, 1)
		}
	}
	e.mu.Unlock()
	if surplus == nil {
		return nil
	}
	return surplus.close()
}

// expire closes an instance that is idle still. What cannot be removed of it
// goes when the engine is closed, or at the next start.
func (e *Engine) expire(in *instance) {
	if e.waiting(func(x *instance) bool { return x == in }) != nil {
		_ = in.close()
	}
}

// closeIdle closes what waits, and whatever would from now on.
func (e *Engine) closeIdle() error {
	e.mu.Lock()
	idle := e.idle
	e.idle, e.closed = nil, true
	e.mu.Unlock()
	var err error
	for _, in := range idle {
		in.expiry.Stop()
		err = errors.Join(err, in.close())
	}
	return err
}

func (in *instance) close() error {
	var err error
	if in.db != nil {
		err = in.db.Close()
	}
	return errors.Join(err, os.RemoveAll(in.spill))
}

// settingsOf are all global settings of an instance, as one text.
func settingsOf(ctx context.Context, conn *sql.Conn) (out string, err error) {
	err = conn.QueryRowContext(ctx, "SELECT md5(string_agg(name || '=' || coalesce(value, 'NULL'), ',' ORDER BY name)) FROM duckdb_settings() WHERE scope = 'GLOBAL'").Scan(&out)
	if err != nil {
		err = fmt.Errorf("reading the engine's settings: %w", err)
	}
	return out, err
}

// reusable reports whether an instance is as it was made, after a query that
// ended well.
func (in *instance) reusable(ctx context.Context, conn *sql.Conn) bool {
	if in.key == "" {
		return false
	}
	now, err := settingsOf(ctx, conn)
	return err == nil && now == in.settings
}

// prepare sets what queries need and takes everything else away. What is a
// connection's own is set for all of them.
func (e *Engine) prepare(ctx context.Context, conn *sql.Conn, in *instance, threads int, relations []Relation, paths []string) error {
	settings := []string{
		fmt.Sprintf("SET memory_limit='%dMB'", e.cfg.MemoryMB),
		fmt.Sprintf("SET threads=%d", threads),
		"SET temp_directory=" + quote(in.spill),
		"SET GLOBAL TimeZone='UTC'",
		"SET GLOBAL integer_division=true",
		"SET preserve_insertion_order=true",
		"SET autoinstall_known_extensions=false",
		"SET autoload_known_extensions=false",
		"SET allow_community_extensions=false",
	}
	if in.key != "" {
		settings = append(settings, "SET GLOBAL parquet_metadata_cache=true")
	}
	files := map[string]bool{}
	for _, p := range paths {
		files[quote(p)] = true
	}
	for _, r := range relations {
		for _, p := range r.Parquet {
			files[quote(p.Path)] = true
		}
		for _, x := range r.Stretches {
			if x.Pack != "" {
				files[quote(x.Pack)] = true
			}
		}
	}
	if len(files) > 0 {
		settings = append(settings, "SET allowed_paths=["+strings.Join(slices.Sorted(maps.Keys(files)), ", ")+"]")
	}
	settings = append(settings, "SET enable_external_access=false", "SET lock_configuration=true")
	for _, s := range settings {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("preparing the engine: %w", err)
		}
	}
	return nil
}

// database gives an empty database that no query has used.
func (e *Engine) database() (*engine.Connector, error) {
	select {
	case c := <-e.spare:
		return c, nil
	default:
		return engine.NewConnector("", nil)
	}
}

// provide makes the database of the next query, unless there is one. A failure
// is the next query's to find.
func (e *Engine) provide() {
	e.making.Go(func() {
		if len(e.spare) == cap(e.spare) {
			return
		}
		c, err := engine.NewConnector("", nil)
		if err != nil {
			return
		}
		select {
		case e.spare <- c:
		default:
			_ = c.Close() // another was faster; an empty database has nothing to lose
		}
	})
}
