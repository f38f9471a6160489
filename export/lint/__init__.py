"""What each target runs of a network, and where it would fall back or fail: before training, and on the file.

`operators` views any .tflite without understanding its arithmetic. One module a target (`edgetpu`, `tflite_micro`,
`ethos_u`, `cortex_m`, `pi`) gives each operator a `verdict`; `targets` puts them together. A target's own tool has the
last word where it is installed: `edgetpu_compiler`, Vela (in `ethos_u`), the `interpreters`, each as a `child` process.
`student` does the same to a network that is not trained yet, from `trace` (torch's operators by module) and the
lowering, and is the gate that training asks when `target` is set.
"""
