import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** The repository's folder. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** Where a command runs, and with which variables besides those of this process. `answers`: whether it does; default: over http. */
interface Surroundings { env?: NodeJS.ProcessEnv, cwd?: string, answers?: (port: number) => Promise<boolean> }

/** Runs a command to its end. */
export async function run (command: string, args: string[], { env = {}, cwd = root }: Surroundings = {}): Promise<{ code: number | null, output: string }> {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk) => { output += String(chunk) })
  child.stderr.on('data', (chunk) => { output += String(chunk) })
  return await new Promise((resolve) => child.once('close', (code) => resolve({ code, output })))
}

export interface Program {
  /** What it printed so far. */
  output: () => string
  /** Sends the signal and waits for the end; gives the exit code, `null` when the signal ended it. */
  stop: (signal: NodeJS.Signals) => Promise<number | null>
}

/** Starts a TypeScript program that listens on `PORT`, and waits until it answers HTTP. Killed when the test ends. */
export async function startProgram (t: Test, file: string, port: number, env: NodeJS.ProcessEnv, cwd = root): Promise<Program> {
  return await startCommand(t, [process.execPath, '--import', 'tsx', file], port, { env, cwd })
}

/** The same of a program that any command starts. */
export async function startCommand (t: Test, [command = '', ...args]: string[], port: number, { env = {}, cwd = root, answers = answersHttp }: Surroundings): Promise<Program> {
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env, PORT: String(port) }, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const stop = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal)
    return await ended
  }
  t.teardown(async () => await stop('SIGKILL'))
  let output = ''
  child.stdout.on('data', (chunk) => { output += String(chunk) })
  child.stderr.on('data', (chunk) => { output += String(chunk) })
  for (const giveUpAt = Date.now() + 30_000; Date.now() < giveUpAt;) {
    if (child.exitCode !== null) throw new Error(`${args.join(' ')} ended with ${child.exitCode}: ${output}`)
    if (await answers(port)) return { output: () => output, stop }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${args.join(' ')} does not answer: ${output}`)
}

async function answersHttp (port: number): Promise<boolean> {
  return await fetch(`http://127.0.0.1:${port}/`).then(() => true, () => false)
}

export async function freePort (): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
