import { Session } from 'node:inspector/promises'

const session = new Session()

export async function profile (): Promise<void> {
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 200 })
  await session.post('Profiler.start')
}

export async function profiled (): Promise<object> {
  const { profile } = await session.post('Profiler.stop')
  session.disconnect()
  return profile
}
