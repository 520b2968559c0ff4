//go:build !wasip1

package watchkeeper

import (
	"fmt"
	"os"
)

func logLine(level Level, line string) {
	fmt.Fprintln(os.Stderr, level, line)
}
