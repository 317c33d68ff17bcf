// Command spoor is the server and its tools: serve, env, verify, tail, key,
// account.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes that scripts rely on.
const (
	exitOK      = 0
	exitFailed  = 1 // verify: findings
	exitUnknown = 2 // verify: could not check; any command: wrong usage
)

// commands is the command line.
type commands struct {
	Serve   serveCmd   `cmd:"" help:"Run the server."`
	Env     envCmd     `cmd:"" help:"Print shell exports for the AWS CLI, SDKs and Cassandra clients."`
	Verify  verifyCmd  `cmd:"" help:"Verify a trail's log files and digests."`
	Key     keyCmd     `cmd:"" help:"The master key that seals secrets at rest."`
	Account accountCmd `cmd:"" help:"Accounts of a running server."`
	Tail    tailCmd    `cmd:"" help:"Print records as they are made."`
	Version versionCmd `cmd:"" help:"Print the version."`
	Gateway gatewayCmd `cmd:"" hidden:"" help:"The embedded object gateway; started by serve."`

	Config kong.ConfigFlag `help:"JSON file with settings; keys are the flags' names." env:"SPOOR_CONFIG" placeholder:"FILE"`
}

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// streams are the program's standard streams.
type streams struct{ out, err io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// commandOf is the command whose help says what err, a wrong use, should have been.
func commandOf(err error) string {
	if pe, ok := errors.AsType[*kong.ParseError](err); ok && pe.Context.Selected() != nil {
		return pe.Context.Selected().FullPath()
	}
	return "spoor"
}

// run parses args and runs the command; it returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	var cmd commands
	exited := -1
	parser, err := kong.New(&cmd,
		kong.Name("spoor"),
		kong.Description("AWS's Athena, Keyspaces and CloudTrail on your own machine, with a record of every call.\n\n"+
			"  spoor serve                       run with everything embedded, on ./data\n"+
			"  eval \"$(spoor env)\"               point this shell's AWS CLI at it\n"+
			"  spoor verify --trail-arn ARN      check what a trail delivered\n"+
			"  spoor tail                        see calls as they happen"),
		kong.UsageOnError(), kong.Writers(std.out, std.err), kong.Configuration(kong.JSON),
		kong.Exit(func(c int) { exited = c }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(std))
	if err != nil {
		fmt.Fprintln(std.err, "spoor:", err)
		return exitUnknown
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintln(std.err, "spoor:", err)
		fmt.Fprintf(std.err, "See %s --help.\n", commandOf(err))
		return exitUnknown
	}
	err = kctx.Run()
	var ee *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ee):
		if ee.err != nil {
			fmt.Fprintln(std.err, "spoor:", ee.err)
		}
		return ee.code
	}
	fmt.Fprintln(std.err, "spoor:", err)
	return exitFailed
}
