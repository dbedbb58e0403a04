// Tells somebody something, by day. The job's argument: {"to": NAME, "text": TEXT, "hour": HOUR}.
import { readFileSync } from "node:fs";

const [{ to, text, hour }] = JSON.parse(readFileSync(0, "utf8"));   // standard input
if (hour < 8) {
  console.log(`@dagverk snooze ${8 - hour}h`);
  process.exitCode = 171;
} else {
  console.log(`attempt ${process.env.DAGVERK_ATTEMPT}`);            // a line of the log: output = "log"
  console.error(`no such person: ${to}`);                           // and so is this
  console.log(`@dagverk result told ${to}: ${text}`);
}
