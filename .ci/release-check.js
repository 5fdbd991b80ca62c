// Refuses to publish what cannot be traced to its source: runs before `npm publish`, here and in the release workflow.
import { readFileSync } from 'node:fs'

const { version, repository } = JSON.parse(readFileSync('package.json', 'utf8'))
const heading = readFileSync('CHANGELOG.md', 'utf8').split('\n').find((line) => line.startsWith(`## ${version} (`))
const tag = process.env.GITHUB_REF_NAME

const faults = [
  repository === undefined && 'package.json names no `repository`: the provenance of a package does',
  heading === undefined && `CHANGELOG.md has no section "## ${version} (<date>)"`,
  heading?.includes('unreleased') && `CHANGELOG.md calls ${version} unreleased: put the date`,
  tag !== undefined && tag !== `v${version}` && `the tag is ${tag}, not v${version}`
].filter(Boolean)

for (const fault of faults) console.error(fault)
process.exitCode = faults.length > 0 ? 1 : 0
