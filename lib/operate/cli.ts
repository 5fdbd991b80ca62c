#!/usr/bin/env node
import { userInfo } from 'node:os'
import { main } from './main.ts'

/** Returns the name of the person at the terminal. A container may have none. */
function userName (): string | null {
  try {
    return userInfo().username
  } catch {
    return null
  }
}

const interruption = new AbortController()
// Once: whoever presses it twice does not want to wait.
process.once('SIGINT', () => interruption.abort())
process.once('SIGTERM', () => interruption.abort())
// Nobody reads on. The write that failed tells it.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

const { stdin, stdout, stderr, env } = process
process.exitCode = await main(process.argv.slice(2), {
  stdin, stdout, stderr, env, userName: userName(), signal: interruption.signal
})
// What was interrupted may wait for Redis.
if (interruption.signal.aborted) process.exit()
