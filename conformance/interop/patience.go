package interop

import "time"

// patience bounds every wait of the suite.
const patience = 20 * time.Second
