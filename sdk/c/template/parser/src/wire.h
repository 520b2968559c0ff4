/* What senders send: {"alerts": [{"id": "…", "title": "…"}]}. */
#ifndef WIRE_H
#define WIRE_H

#include <watchkeeper.h>

/* Reads a payload's alerts; each mistake is named with its place. */
wk_error *wire_alerts(const wk_payload *payload, wk_alerts *alerts);

#endif
