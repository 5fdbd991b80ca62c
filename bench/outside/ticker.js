import { parentPort, workerData } from 'node:worker_threads'

/*
 * Wakes the sender of open-loop.ts: a timer of Node's is a millisecond late, while a request is due every tenth of one.
 * In a thread of its own, which sleeps in between. In JavaScript, since tsx is not there in a thread.
 */

const EVERY_MS = 0.1
// What open-loop.ts starts it with: whether the last tick is still on its way, and a place to sleep at.
const [isOnItsWay, bed] = workerData

for (;;) {
  Atomics.wait(bed, 0, 0, EVERY_MS)
  if (Atomics.compareExchange(isOnItsWay, 0, 0, 1) === 0) parentPort?.postMessage(null)
}
