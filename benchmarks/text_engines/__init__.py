"""One program per engine under the same load: model path and workload (JSON) in, figures (JSON) out.

Those of peers run in an environment without openhearth, so each file stands alone.
"""
