// The only program of the container that the tests run: it does what its first argument says.
package main

import (
	"os"
	"time"
)

func main() {
	switch os.Args[1] {
	case "sleep":
		time.Sleep(time.Hour)
	case "log":
		_, _ = os.Stdout.WriteString("began\n")
		_, _ = os.Stderr.WriteString("complains\n")
		time.Sleep(time.Hour)
	case "exit3":
		os.Exit(3)
	case "ok":
	case "eat": // memory, until the kernel objects; it must do so well before the end
		eaten := make([]byte, 256<<20)
		for i := range eaten {
			eaten[i] = 1
		}
	}
}
