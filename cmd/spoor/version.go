package main

import (
	"fmt"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the module's version as the build recorded it.
func (versionCmd) Run(std streams) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		fmt.Fprintln(std.out, "spoor (unknown build)")
		return nil
	}
	rev := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			rev = " " + s.Value
		}
	}
	fmt.Fprintf(std.out, "spoor %s%s %s\n", info.Main.Version, rev, info.GoVersion)
	return nil
}
